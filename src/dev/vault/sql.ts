import type { Pool } from 'pg'

/** Fills in the statements of a role. The values are of our own making and hold no quote. */
export function filled(statement: string, values: Readonly<Record<string, string>>): string {
  return statement.replace(/\{\{\s*(name|username|password|expiration)\s*\}\}/g, (whole, key) => values[key] ?? whole)
}

/** All of the statements, or none. */
export async function inTransaction(pool: Pool, sql: readonly string[]): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    for (const statement of sql) await client.query(statement)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    throw error
  } finally {
    client.release()
  }
}
