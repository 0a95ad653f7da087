import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** A port of 127.0.0.1 that was free a moment ago. For servers that cannot listen on port 0; callers try again when it is lost. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  server.close()
  await once(server, 'close')
  return address.port
}

/**
 * Ends process `pid` as soon as this process is gone, however it went (SIGKILL included): a shell reads from a pipe that
 * only we hold open. Its temporary `folder`, if given, goes with it. Returns what takes the guard off again.
 */
export function guard(pid: number, signal: 'TERM' | 'INT' | 'KILL' = 'TERM', folder?: string): () => void {
  const gone = `while kill -0 ${pid} 2>/dev/null; do sleep 0.1; done`
  const script = `cat >/dev/null; kill -${signal} ${pid} 2>/dev/null${folder === undefined ? '' : `; ${gone}; rm -rf "$1"`}`
  const shell: ChildProcess = spawn('sh', ['-c', script, 'guard', folder ?? ''], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  shell.unref()
  return () => {
    shell.kill('SIGKILL')
    shell.stdin?.destroy()
  }
}

/** Waits until a child has ended. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** Waits for a condition of the outside world, looking every 20 ms. */
export async function eventually<T>(look: () => Promise<T | undefined>, what: string, withinMs = 20_000): Promise<T> {
  const untilMs = Date.now() + withinMs
  for (;;) {
    const seen = await look().catch(() => undefined)
    if (seen !== undefined) return seen
    if (Date.now() > untilMs) throw new Error(`did not happen within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
