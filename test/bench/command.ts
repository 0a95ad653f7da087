import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const bin = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))
/** How often it is asked for the most memory it has had; and at each thing it says, the last of them just before it ends. */
const askEveryMs = 10

/** One run of our command as a process of its own. */
export interface CommandRun {
  readonly stdout: string
  /** The start of the process included. */
  readonly seconds: number
  /** Most resident memory, MB of 10^6 bytes. */
  readonly mostMb: number
}

/** Runs `writ` with those arguments to its end. @throws Error when it fails */
export async function runCommand(args: readonly string[]): Promise<CommandRun> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let mostMb = 0
  const ask = (): void => {
    mostMb = Math.max(mostMb, mostMbOf(child.pid ?? 0))
  }
  const asking = setInterval(ask, askEveryMs)
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
    ask()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
    ask()
  })
  const [code] = await once(child, 'close')
  clearInterval(asking)
  const seconds = (performance.now() - startedMs) / 1000
  if (code !== 0) throw new Error(`writ ${args.slice(0, 2).join(' ')} ended with ${code}: ${stdout}${stderr}`)
  return { stdout, seconds, mostMb }
}

/**
 * From proc(5). What getrusage(2) says of a child will not do, because it counts what the bench had when it forked, and loading more
 * into the child to ask there would be measured with it.
 */
function mostMbOf(pid: number): number {
  try {
    const [, kib = '0'] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return (Number(kib) * 1024) / 1e6
  } catch {
    return 0
  }
}
