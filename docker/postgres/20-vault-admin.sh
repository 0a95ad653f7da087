#!/bin/sh
# Gives vault_admin its first password, which OpenBao rotates away as soon as it is set up.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/vault_admin_password)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
ALTER ROLE vault_admin LOGIN PASSWORD :'password';
SQL
