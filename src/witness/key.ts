import { BrokerFault } from '../base/errors.ts'
import { readPrivateFile } from '../ledger/keys.ts'
import { type CosigningKey, parseWitnessSkey } from '../ledger/log/cosignature.ts'

/**
 * The private key of a witness in `file`.
 * @throws BrokerFault `ledger_unavailable` when it is absent, readable by others, or no key of a witness
 */
export async function openWitnessKey(file: string): Promise<CosigningKey> {
  const text = await readPrivateFile(file, undefined)
  try {
    return parseWitnessSkey(text)
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `${file} holds no key of a witness`, { cause })
  }
}
