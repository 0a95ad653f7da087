import { execFile } from 'node:child_process'
import type { Environment } from '../../config/environment.ts'
import { maxTokenBytes } from './bearer.ts'

const standardDeadlineMs = 15_000

/**
 * What a tool of the platform prints. It gets no standard input, fifteen seconds (or the deadline) and 16 KiB.
 * @throws Error that says why in a few words and holds nothing of what the tool printed.
 */
export function runTool(
  file: string,
  args: readonly string[],
  environment: Environment,
  deadlineMs: number = standardDeadlineMs,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      env: environment.child(),
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
      maxBuffer: maxTokenBytes + 3,
      windowsHide: true,
    } as const
    const child = execFile(file, [...args], options, (error, stdout) => {
      if (error === null) resolve(stdout)
      else reject(new Error(whyFailed(error, file, deadlineMs)))
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end()
  })
}

function whyFailed(
  { code, killed }: Error & { code?: unknown; killed?: boolean },
  file: string,
  deadlineMs: number,
): string {
  if (code === 'ENOENT') return `there is no ${file} on the PATH`
  if (code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return `${file} printed more than 16 KiB`
  if (killed === true) return `${file} did not end within ${deadlineMs / 1000} s`
  return typeof code === 'number' ? `${file} ended with status ${code}` : `${file} cannot be run`
}
