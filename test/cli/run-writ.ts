import { systemClock } from '../../src/base/clock.ts'
import { main } from '../../src/cli/main.ts'
import { readEnvironment } from '../../src/config/environment.ts'

/** What a command printed and how it ended. */
export interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs one command line in this process, without a terminal. */
export async function runWrit(
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly stdin?: string } = {},
): Promise<Ran> {
  let [out, err] = ['', '']
  const status = await main(args, {
    stdout: (text) => {
      out += text
    },
    stderr: (text) => {
      err += text
    },
    readStdin: async () => options.stdin ?? '',
    ask: async () => undefined,
    isTty: { stdin: false, stdout: false, stderr: false },
    environment: readEnvironment(options.env ?? {}),
    clock: systemClock,
    onSignal: () => () => {},
  })
  return { status, out, err }
}
