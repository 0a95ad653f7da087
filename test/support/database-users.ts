import pg from 'pg'

/** Users that Vault has made in that database, by name; of them those for which a condition in SQL is true. */
export async function databaseUsers(url: string, condition = 'true'): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ name: string }>(
    `SELECT rolname AS name FROM pg_roles WHERE rolname LIKE 'v-%' AND (${condition}) ORDER BY rolname COLLATE "C"`,
  )
  await client.end()
  return rows.map(({ name }) => name)
}
