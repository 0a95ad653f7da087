import { randomBytes } from 'node:crypto'
import { BrokerFault } from '../../base/errors.ts'
import { readPrivateFile } from '../keys.ts'

/**
 * The key in `file` (64 hexadecimal digits) under which names are hashed, made first when there is none and `create` allows it. Who has
 * it can find out by trying which name became which hash.
 * @throws BrokerFault `ledger_unavailable` when others can read the file or it holds no key
 */
export async function openNamesKey(file: string, create: boolean): Promise<Uint8Array> {
  const text = await readPrivateFile(file, create ? () => `${randomBytes(32).toString('hex')}\n` : undefined)
  if (!/^[0-9a-f]{64}\n?$/.test(text)) throw new BrokerFault('ledger_unavailable', `${file} holds no names key`)
  return Buffer.from(text.trim(), 'hex')
}
