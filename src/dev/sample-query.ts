/** A user of the sample database. */
export interface DatabaseUser {
  /** Where the database is; the user and password in it are not used. */
  readonly url: string
  readonly username: string
  readonly password: string
}

// What PostgreSQL answers to a user it does not know, a wrong password, and a user whose time is over (class 28).
const refusals = new Set(['28P01', '28000'])

/** Logs in as that user and gives the first column of the first row. */
export async function runQuery(user: DatabaseUser, sql: string): Promise<unknown> {
  const { Client } = (await import('pg')).default
  const url = new URL(user.url)
  const database = decodeURIComponent(url.pathname.slice(1))
  const client = new Client({
    host: url.hostname,
    port: Number(url.port),
    database,
    user: user.username,
    password: user.password,
  })
  client.on('error', () => {})
  await client.connect()
  try {
    const { rows } = await client.query({ text: sql, rowMode: 'array' })
    return (rows as unknown[][])[0]?.[0]
  } finally {
    await client.end()
  }
}

/** Whether the database refuses to let that user in. @throws whatever else goes wrong: a server that is down refuses nobody */
export async function isRefused(user: DatabaseUser): Promise<boolean> {
  try {
    await runQuery(user, 'SELECT 1')
    return false
  } catch (error) {
    if (error instanceof Error && 'code' in error && refusals.has(String(error.code))) return true
    throw error
  }
}
