import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { silentLog } from '../../src/base/log.ts'
import { parseSize } from '../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { addCheckpoint } from '../../src/witness/add-checkpoint.ts'
import { ended, eventually, guard } from '../support/child.ts'
import { fakeClock } from '../support/clock.ts'
import { origin, testKey, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { spawnWrit, type WritProcess } from '../support/serve.ts'
import { bodyOf, logsOf, openTestStore, witnessKey, witnessSkey } from '../support/witness.ts'

const logs = logsOf(testKey.vkey)
const log = memoryLog()
log.append(...Array.from({ length: 400 }, (_, n) => `leaf ${n}`))

const post = async (url: string, body: Uint8Array): Promise<{ status: number; text: string }> => {
  const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: Buffer.from(body) })
  return { status: response.status, text: await response.text() }
}

describe('kill -9 of a witness', () => {
  it('between keeping a head and answering leaves the head: nothing that contradicts it is cosigned after', () =>
    withFolder(async (dir) => {
      const child = spawn(process.execPath, [join(import.meta.dirname, 'witness-process.ts'), dir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const release = guard(child.pid ?? 0, 'KILL')
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      const url = String((await lines.next()).value).replace('listening ', '')
      const unanswered = post(url, bodyOf({ from: 0, proof: [], note: log.sign(testKey, 7) })).catch(() => 'cut')
      expect((await lines.next()).value).toBe('kept 7')
      child.kill('SIGKILL')
      await ended(child)
      release()
      expect(await unanswered).toBe('cut')

      const store = await openTestStore(dir, logs)
      const deps = { logs, store, contradicted: new WeakSet(), key: witnessKey, clock: fakeClock(), log: silentLog }
      const fork = memoryLog()
      fork.append('another')
      expect(await addCheckpoint(bodyOf({ from: 0, proof: [], note: fork.sign(testKey) }), deps)).toEqual({
        status: 409,
        size: 7,
      })
      const next = { from: 7, proof: await log.prove(7, 9), note: log.sign(testKey, 9) }
      expect(await addCheckpoint(bodyOf(next), deps)).toMatchObject({ status: 200 })
      await store.close()
    }))

  it('at ten points loses no head that was answered', { timeout: 240_000 }, () =>
    withFolder(async (dir) => {
      const config = join(dir, 'witness.yaml')
      await writeFile(join(dir, 'key'), witnessSkey('witness.test'), { mode: 0o600 })
      await writeFile(
        config,
        stringify({ listen: { port: 0 }, data: 'heads', keyFile: 'key', logs: [{ vkey: testKey.vkey }] }),
      )
      let answered = 0
      for (let round = 0; round < 10; round++) {
        const witness = spawnWrit(['witness', '--config', config])
        const url = await listening(witness)
        const { status, text } = await post(url, bodyOf({ from: 0, proof: [], note: log.sign(testKey, 1) }))
        const has = status === 409 ? parseSize(text.trim()) : 1
        expect(has).toBeGreaterThanOrEqual(answered)
        const sending = sendUntilCut(url, has, (size) => {
          answered = size
        })
        // Each round is cut off after another number of answers.
        const enough = has + 1 + round * 3
        await eventually(async () => (answered >= enough ? true : undefined), 'cosigned')
        witness.signal('SIGKILL')
        await witness.exited
        await sending
      }
      const store = await openTestStore(join(dir, 'heads'), logs)
      const head = store.latest(origin)
      expect(head?.size).toBeGreaterThanOrEqual(answered)
      expect(Buffer.from(head?.root ?? [])).toEqual(Buffer.from(log.root(head?.size)))
      await store.close()
    }),
  )
})

/** Has one entry more cosigned each time, until the connection is cut. */
async function sendUntilCut(url: string, from: number, onAnswer: (size: number) => void): Promise<void> {
  const key = parseWitnessVkey(witnessKey.vkey)
  for (let size = from + 1; ; size++) {
    const note = log.sign(testKey, size)
    const body = bodyOf({ from: size - 1, proof: await log.prove(size - 1, size), note })
    const answer = await post(url, body).catch(() => undefined)
    if (answer === undefined) return
    expect(answer.status).toBe(200)
    expect(cosignaturesOf(`${note}${answer.text}`, [key])).toHaveLength(1)
    onAnswer(size)
  }
}

const listening = (witness: WritProcess): Promise<string> =>
  eventually(async () => (JSON.parse(witness.stdout()) as { url: string }).url, 'listening')
