import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { type Clock, systemClock } from '../../../src/base/clock.ts'
import type { Finding } from '../../../src/cli/doctor/finding.ts'
import { checkWitnesses } from '../../../src/cli/doctor/witnesses.ts'
import { readEnvironment } from '../../../src/config/environment.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { parseWitnessSkey } from '../../../src/ledger/log/cosignature.ts'
import { signingKeyOf } from '../../../src/ledger/log/note.ts'
import type { RunningWitness } from '../../../src/witness/start.ts'
import { freePort } from '../../support/child.ts'
import { numberedEntry } from '../../support/entries.ts'
import { crashedLedger, origin, testKey, withFolder } from '../../support/ledger.ts'
import { type MemoryLog, memoryLog } from '../../support/memory-log.ts'
import { runWrit } from '../../support/serve.ts'
import { bodyOf, startTestWitness, witnessSkey } from '../../support/witness.ts'

const logOf = (...leaves: string[]): MemoryLog => {
  const log = memoryLog()
  log.append(...leaves)
  return log
}
const here = logOf('a', 'b', 'c')

interface Around {
  readonly dir: string
  readonly witness: RunningWitness
  /** Has the witness cosign a log from its beginning. */
  show(log: MemoryLog): Promise<void>
  /** Puts a checkpoint into the folder of the ledger. */
  hold(log: MemoryLog, key?: typeof testKey): Promise<void>
  check(over?: { url?: string; vkey?: string; quorum?: number }, clock?: Clock): Promise<Finding[]>
}

const around = (use: (around: Around) => Promise<void>, watched = testKey.vkey): Promise<void> =>
  withFolder(async (dir) => {
    const witness = await startTestWitness(dir, [watched], { clock: systemClock })
    await mkdir(join(dir, 'ledger'))
    const hold: Around['hold'] = (log, key = testKey) => writeFile(join(dir, 'ledger/checkpoint'), log.sign(key))
    try {
      await use({
        dir,
        witness,
        hold,
        async show(log) {
          const body = bodyOf({ from: 0, proof: [], note: log.sign(testKey) })
          expect((await fetch(`${witness.url}/add-checkpoint`, { method: 'POST', body })).status).toBe(200)
        },
        async check({ url = witness.url, vkey = witness.vkey, quorum = 0 } = {}, clock = systemClock) {
          const file = await configIn(dir, { url, vkey }, quorum)
          const loaded = loadConfig({ file, environment: readEnvironment({}) })
          if (!loaded.ok) throw new Error(JSON.stringify(loaded.refusal))
          return checkWitnesses(loaded.value.config, clock)
        },
      })
    } finally {
      await witness.close()
    }
  })

async function configIn(dir: string, witness: object, quorum: number): Promise<string> {
  const file = join(dir, 'writ.yaml')
  const ledger = { dir: './ledger', origin, witnesses: [{ name: 'w', ...witness }], quorum }
  const vault = { address: 'http://127.0.0.1:1', auth: { method: 'token', tokenFile: 'token' } }
  await writeFile(file, stringify({ url: 'https://writ.example.com', vault, ledger }))
  return file
}

const one = (verdict: Finding['verdict'], detail: string | RegExp, fix?: string) => [
  expect.objectContaining({
    check: 'witness w',
    verdict,
    detail: expect.stringMatching(detail),
    ...(fix !== undefined && { fix: expect.stringContaining(fix) }),
  }),
]

describe('a witness, to the doctor,', () => {
  it('is well where it has cosigned what is here, or there is nothing yet, and is asked to cosign nothing', () =>
    around(async ({ hold, show, check, witness }) => {
      expect(await check({ quorum: 1 })).toEqual(one('ok', 'no checkpoint to show it yet'))
      await hold(here)
      expect(await check()).toEqual(one('warn', 'has seen nothing', 'start the broker'))
      expect(await check()).toEqual(one('warn', 'has seen nothing', 'start the broker'))
      await show(logOf('a', 'b'))
      expect(await check({ quorum: 1 })).toEqual(one('ok', 'has cosigned 2 entries of 3'))
      expect(await check()).toEqual(one('ok', `^${witness.url} has cosigned 2 entries of 3$`))
    }))

  it('that does not answer is named, and what that does to the quorum', () =>
    around(async ({ check }) => {
      const url = `http://127.0.0.1:${await freePort()}`
      const failed = one('fail', 'no answer \\(ECONNREFUSED\\)', 'that writ witness runs there')
      expect(await check({ url })).toEqual(failed)
      expect(await check({ url, quorum: 1 })).toEqual([
        ...failed,
        expect.objectContaining({
          check: 'witness quorum',
          verdict: 'fail',
          detail: '0 of 1 can cosign, and ledger.quorum is 1: no checkpoint is published',
        }),
      ])
    }))

  it('with another key than the one that is configured is found out', () =>
    around(async ({ hold, show, check }) => {
      await hold(here)
      await show(here)
      for (const fill of [5, 6]) {
        const { vkey } = parseWitnessSkey(witnessSkey(fill === 5 ? 'other.test' : 'witness.test', fill))
        expect(await check({ vkey })).toEqual(one('fail', 'is not cosigned by', 'ledger.witnesses'))
      }
    }))

  it('that was not told of the ledger, or not of its key, is found out', async () => {
    await around(async ({ hold, check }) => {
      await hold(here, signingKeyOf(origin, new Uint8Array(32).fill(8)))
      expect(await check()).toEqual(one('fail', `does not accept ${origin}`, 'witness.yaml'))
    })
    const another = signingKeyOf('another.test/ledger', new Uint8Array(32).fill(9)).vkey
    await around(async ({ hold, check }) => {
      await hold(here)
      expect(await check()).toEqual(one('fail', `does not accept ${origin}`, 'witness.yaml'))
    }, another)
  })

  it('that has seen more than there is speaks for a folder that was rolled back; entries not signed for yet count', () =>
    around(async ({ dir, hold, show, check }) => {
      await show(here)
      await hold(logOf('a', 'b'))
      expect(await check()).toEqual(
        one('fail', 'has seen 3 entries, and .* holds 2: it was rolled back', 'do not start'),
      )
      await rm(join(dir, 'ledger'), { recursive: true })
      await crashedLedger(join(dir, 'ledger'), [[1, 2, 3, 4].map(numberedEntry)])
      expect(await check()).toEqual(one('ok', 'has cosigned 3 entries of 4'))
    }))

  it('that holds another history of the same length is found out', () =>
    around(async ({ hold, show, check }) => {
      await show(logOf('a', 'b', 'another'))
      await hold(here)
      expect(await check()).toEqual(one('fail', 'holds another history'))
    }))

  it('whose clock is off is said to be', () =>
    around(async ({ witness, hold, show, check }) => {
      await hold(here)
      await show(here)
      for (const [offMs, said] of [
        [120_000, '1\\d\\d s ahead of'],
        [-120_000, '1\\d\\d s behind'],
      ] as const) {
        const relay = await relayTo(witness.url, offMs)
        const findings = await check({ url: relay.url })
        expect(findings).toEqual([...one('ok', 'has cosigned 3'), ...one('warn', said, 'NTP')])
        relay.close()
      }
    }))

  it('is looked at by the command', () =>
    around(async ({ dir, witness, hold, show }) => {
      await show(here)
      await hold(logOf('a'))
      const config = await configIn(dir, { url: witness.url, vkey: witness.vkey }, 1)
      const exit = await runWrit(['doctor', '--config', config])
      expect(exit.code).toBe(1)
      expect(exit.stdout).toMatch(/^FAIL {2}witness w: has seen 3 entries, .*\n {6}fix: do not start the broker/m)
      expect(exit.stdout).toMatch(/^FAIL {2}witness quorum: /m)
    }))
})

/** Hands everything on, with answers dated by another clock. */
async function relayTo(target: string, offMs: number): Promise<{ url: string; close(): void }> {
  const server = createServer((request: IncomingMessage, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const body = request.method === 'POST' ? Buffer.concat(chunks) : null
      const answer = await fetch(`${target}${request.url}`, { method: request.method ?? 'GET', body })
      const type = answer.headers.get('content-type') ?? 'text/plain'
      const date = new Date(Date.now() + offMs).toUTCString()
      response.writeHead(answer.status, { 'content-type': type, date }).end(await answer.text())
    })()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() }
}
