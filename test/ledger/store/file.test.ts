import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { ledgerContract } from '../../contract/ledger.contract.ts'
import { faultyDisk } from '../../support/faulty-disk.ts'
import { openTestLedger } from '../../support/ledger.ts'

ledgerContract('file', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'writ-ledger-'))
  const opened: FileLedger[] = []
  let broken = false
  return {
    async open() {
      broken = false
      const disk = faultyDisk(() => (broken ? 'fail' : 'do'))
      const ledger = await openTestLedger(dir, { fs: disk, segmentBytes: 20_000 })
      opened.push(ledger)
      return ledger
    },
    // A disk that fails from here on keeps close from signing: what is in the folder is what a crash would leave.
    async crash() {
      broken = true
      await opened.at(-1)?.close()
    },
    breakWrites() {
      broken = true
    },
    async dispose() {
      await Promise.all(opened.map((ledger) => ledger.close()))
      await rm(dir, { recursive: true })
    },
  }
})
