import { UsageError } from '../command.ts'
import { jsonText } from '../terminal.ts'
import { base64, type Format, lineOf, unfit } from './format.ts'

/** A `config.json` for the folder that `DOCKER_CONFIG` names, with the log-in of one registry. @see docker/cli, `cli/config/configfile` */
export const docker: Format = {
  name: 'docker',
  takes: ['registry'],
  folderWith: 'config.json',
  prepare({ values }) {
    const { registry } = values
    if (registry === undefined) throw new UsageError('--format docker needs --registry')
    return (issued) => {
      const user = lineOf(issued, 'docker', 'username')
      // The reader splits at the first colon.
      if (user.includes(':')) throw unfit('docker', 'username', 'holds a colon')
      const auth = base64(`${user}:${lineOf(issued, 'docker', 'password')}`)
      return `${jsonText({ auths: { [registry]: { auth } } }, 2)}\n`
    }
  },
}
