import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { ended, eventually, guard } from './child.ts'

/** The process and all that came of it (Linux, by way of `/proc`). */
function family(pid: number): readonly number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      // The name of the program is in parentheses and may hold anything; the parent is the second field after it.
      const [, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
      parents.set(Number(name), Number(parent))
    } catch {
      // It has ended since.
    }
  }
  const found = [pid]
  for (const one of found) for (const [child, parent] of parents) if (parent === one) found.push(child)
  return found
}

/** Stops the process and its children where they stand, and has them go on as if nothing had been. */
export function freeze(pid: number): { thaw(): void } {
  const frozen = family(pid)
  const signal = (name: NodeJS.Signals): void => {
    for (const one of frozen) {
      try {
        process.kill(one, name)
      } catch {
        // It has ended since.
      }
    }
  }
  signal('SIGSTOP')
  return { thaw: () => signal('SIGCONT') }
}

/** The PostgreSQL of a development stack, as a process that accidents happen to. */
export interface PostgresProcess {
  pid(): Promise<number>
  /** Kills it and every backend, and starts it again over the same data. */
  crash(): Promise<void>
  stop(): Promise<void>
}

/** @param url of its administrator */
export function postgresProcess(dataDir: string, url: string): PostgresProcess {
  const cluster = join(dataDir, 'postgres', 'cluster')
  const pid = async (): Promise<number> =>
    Number((await readFile(join(cluster, 'postmaster.pid'), 'utf8')).split('\n', 1)[0])
  let stop = async (): Promise<void> => {}
  return {
    pid,
    async crash() {
      const before = await pid()
      const owner = ownerOf(before)
      const command = (await readFile(`/proc/${before}/cmdline`, 'utf8')).split('\0').slice(0, -1)
      for (const one of family(before)) process.kill(one, 'SIGKILL')
      await eventually(async () => (family(before).length === 1 && !alive(before) ? true : undefined), 'it is dead')
      await stop()
      const [file = '', ...args] = command
      const child = spawn(file, args, { stdio: 'ignore', cwd: '/', ...owner })
      const release = child.pid === undefined ? () => {} : guard(child.pid, 'INT')
      stop = async () => {
        child.kill('SIGINT')
        await ended(child)
        release()
      }
      await eventually(() => answers(url), 'PostgreSQL takes log-ins again')
    },
    stop: () => stop(),
  }
}

function ownerOf(pid: number): { uid: number; gid: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const id = (name: string): number => Number(status.split(`${name}:\t`)[1]?.split('\t', 1)[0])
  return { uid: id('Uid'), gid: id('Gid') }
}

function alive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
  } catch {
    return false
  }
}

async function answers(url: string): Promise<true> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT 1')
    return true
  } finally {
    await client.end().catch(() => {})
  }
}
