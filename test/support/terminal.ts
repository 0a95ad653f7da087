import { systemClock } from '../../src/base/clock.ts'
import type { Io } from '../../src/cli/command.ts'
import { main } from '../../src/cli/main.ts'
import { readEnvironment } from '../../src/config/environment.ts'

/** How one command ended and what it said. */
export interface Said {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs one command line of `writ` in this process; `change` replaces parts of its terminal. */
export async function writ(args: readonly string[], change: Partial<Io> = {}): Promise<Said> {
  let [out, err] = ['', '']
  const io: Io = {
    stdout: (text) => {
      out += text
    },
    stderr: (text) => {
      err += text
    },
    readStdin: () => Promise.resolve(''),
    ask: () => Promise.resolve(undefined),
    isTty: { stdin: false, stdout: false, stderr: false },
    environment: readEnvironment({}),
    clock: systemClock,
    onSignal: () => () => {},
    ...change,
  }
  const status = await main(args, io)
  return { status, out, err }
}
