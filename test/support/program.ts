import { type ExecFileOptions, execFile, spawnSync } from 'node:child_process'

/** Whether all of these programs are on PATH. */
export const onPath = (...programs: readonly string[]): boolean =>
  programs.every((program) => spawnSync('sh', ['-c', `command -v "$1"`, 'sh', program]).status === 0)

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end while servers of this process go on answering. Its environment is `PATH` and what is given. */
export function runProgram(file: string, args: readonly string[], options: ExecFileOptions = {}): Promise<Ran> {
  const env = { PATH: process.env.PATH, ...options.env }
  return new Promise((resolve, reject) => {
    const child = execFile(file, [...args], { ...options, env, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error)
      else resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
    child.stdin?.end()
  })
}
