import { chmod, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { loadWitnessConfig } from '../../src/witness/config.ts'
import { eventually } from '../support/child.ts'
import { origin, testKey, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { runWrit, spawnWrit } from '../support/serve.ts'
import { bodyOf } from '../support/witness.ts'
import vectors from '../vectors/witness.json' with { type: 'json' }

const text = `data: ./heads
keyFile: witness.key
listen: { port: 0 }
logs:
  - vkey: ${testKey.vkey}
`
const keygen = (file: string, name = 'witness.test') =>
  runWrit(['witness', 'keygen', '--name', name, '--out', file, '--json'])

describe('writ witness keygen', () => {
  it('makes a key that only its owner can read, and prints its public half, then and later', () =>
    withFolder(async (dir) => {
      const file = join(dir, 'keys', 'witness.key')
      const made = await keygen(file)
      expect(made).toMatchObject({ code: 0, stderr: '' })
      const { vkey } = JSON.parse(made.stdout)
      expect(parseWitnessVkey(vkey).name).toBe('witness.test')
      expect((await stat(file)).mode & 0o777).toBe(0o600)
      expect(JSON.parse((await keygen(file)).stdout)).toEqual({ name: 'witness.test', vkey, file, created: false })
      expect((await runWrit(['witness', 'keygen', '--name', 'witness.test', '--out', file])).stdout).toBe(`${vkey}\n`)
      expect(await keygen(file, 'other.test')).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('witness.test'),
      })
      expect(await keygen(join(dir, 'b'), 'a b')).toMatchObject({ code: 2, stderr: expect.stringContaining('--name') })
    }))
})

describe('writ witness', () => {
  it('cosigns until it is asked to stop, and one process has the folder', () =>
    withFolder(async (dir) => {
      const config = join(dir, 'witness.yaml')
      await writeFile(config, text)
      const { vkey } = JSON.parse((await keygen(join(dir, 'witness.key'))).stdout)
      const witness = spawnWrit(['witness', '--config', config])
      const ready = await eventually(async () => JSON.parse(witness.stdout()), 'listening')
      expect(ready).toEqual({ event: 'listening', url: expect.stringMatching(/^http:/), vkey })
      const log = memoryLog()
      log.append('a', 'b')
      const note = log.sign(testKey)
      const body = bodyOf({ from: 0, proof: [], note })
      const answer = await fetch(`${ready.url}/add-checkpoint`, { method: 'POST', body })
      const [cosignature] = cosignaturesOf(`${note}${await answer.text()}`, [parseWitnessVkey(vkey)])
      expect(Math.abs((cosignature?.timeMs ?? 0) - Date.now())).toBeLessThan(60_000)
      expect(await runWrit(['witness', '--config', config])).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('another process is writing the checkpoints of the witness'),
      })
      witness.signal('SIGTERM')
      expect(await witness.exited).toMatchObject({ code: 0 })
    }))

  it.each([
    ['no key', async () => {}, 'does not exist'],
    [
      'a key that others can read',
      async (file: string) => {
        await keygen(file)
        await chmod(file, 0o644)
      },
      'chmod 600',
    ],
    [
      'the key of a log',
      async (file: string) => void (await runWrit(['ledger', 'keygen', '--origin', 'x', '--out', file])),
      'holds no key of a witness',
    ],
  ])('does not start with %s', (_, prepare, said) =>
    withFolder(async (dir) => {
      const config = join(dir, 'witness.yaml')
      await writeFile(config, text)
      await prepare(join(dir, 'witness.key'))
      expect(await runWrit(['witness', '--config', config])).toMatchObject({
        code: 1,
        stdout: '',
        stderr: expect.stringContaining(said),
      })
    }),
  )

  it('does not start on a configuration that is wrong, and says everything that is', () =>
    withFolder(async (dir) => {
      const config = join(dir, 'witness.yaml')
      await writeFile(config, 'data: 1\nlogs:\n  - vkey: x\n')
      const { code, stderr } = await runWrit(['witness', '--config', config])
      expect(code).toBe(2)
      for (const part of [':1:7: data', 'keyFile', ':3:11: logs.0.vkey: a verifier key has the form'])
        expect(stderr).toContain(part)
      expect(await runWrit(['witness'])).toMatchObject({ code: 2 })
      expect(await runWrit(['witness', '--config', join(dir, 'none')])).toMatchObject({ code: 2 })
    }))
})

describe('the configuration of a witness', () => {
  const load = (content: string) =>
    withFolder(async (dir) => {
      await writeFile(join(dir, 'w.yaml'), content)
      const loaded = loadWitnessConfig(join(dir, 'w.yaml'))
      return loaded.ok ? loaded.value : loaded.refusal.map((problem) => problem.replace(`${dir}/`, ''))
    })

  it('names logs by key, and by origin where the key is called otherwise; one log may have several keys', async () => {
    const { vkey } = vectors.monkeys
    const config = await load(`${text}  - { vkey: "${vkey}", origin: ${origin} }\n  - vkey: ${vkey}\n`)
    if (Array.isArray(config) || !('logs' in config)) throw new Error(JSON.stringify(config))
    expect([...config.logs].map(([name, keys]) => [name, keys.map((key) => key.vkey)])).toEqual([
      [origin, [testKey.vkey, vkey]],
      ['monkeys', [vkey]],
    ])
    expect(config.listen).toEqual({ host: '127.0.0.1', port: 0, tls: undefined })
  })

  it.each([
    [
      text.replace('data', 'dada'),
      ['w.yaml:1:1: data: Invalid input', 'w.yaml:1:1: the file: Unrecognized key: "dada"'],
    ],
    [
      `${text}  - { vkey: "${vectors.formats.witness}" }\n`,
      ['w.yaml:6:13: logs.1.vkey: the key is the cosignature key'],
    ],
    [text.replace(/ {2}- .*\n/, '').replace('logs:', 'logs: []'), ['w.yaml:4:1: logs: Too small']],
    [`${text}logs: []\n`, ['w.yaml:6:1: Map keys must be unique']],
  ])('of %j is refused', async (content, problems) => {
    expect(await load(content)).toEqual(problems.map((problem) => expect.stringContaining(problem)))
  })
})
