#!/bin/sh
# Sets OpenBao up for the broker: engines, roles that match policies/, the broker's policy and its login.
# It may be run again: what is there already is brought up to date. After the first run the root token is gone; give an
# administrator's token in BAO_TOKEN to run it later.
#
#   BAO_ADDR, BAO_CACERT       where OpenBao is
#   DATABASE_HOST              host:port of PostgreSQL, as OpenBao reaches it
#   DATABASE_SSLMODE           its sslmode (default verify-full)
#   DATABASE_PASSWORD_FILE     password of vault_admin, used once and then rotated away
#   STATE_DIR                  where the recovery key of a fresh OpenBao is kept: move it to a safe, then delete it
#   LOGIN_DIR                  where role_id and secret_id of the broker go
set -eu
umask 077

here=$(dirname "$0")
state=${STATE_DIR:-/var/lib/writ}
login=${LOGIN_DIR:-/run/writ/login}
password_file=${DATABASE_PASSWORD_FILE:-/run/secrets/vault_admin_password}
sslmode=${DATABASE_SSLMODE:-verify-full}

say() { echo "bootstrap: $*"; }

# --- A token that may set things up ---------------------------------------------------------------------------------

is_initialized() { bao status -format=json 2>/dev/null | grep -q '"initialized": *true'; }

if ! is_initialized; then
  bao operator init -recovery-shares=1 -recovery-threshold=1 -format=json >"$state/init.json.new"
  mv "$state/init.json.new" "$state/init.json"
  say "OpenBao is initialised; the recovery key is in $state/init.json: move it to a safe"
fi

first_run=
if [ -z "${BAO_TOKEN:-}" ]; then
  BAO_TOKEN=$(sed -n 's/.*"root_token": *"\([^"]*\)".*/\1/p' "$state/init.json" 2>/dev/null || true)
  if [ -z "$BAO_TOKEN" ]; then
    say "OpenBao is set up already. To change it, run this again with an administrator's token in BAO_TOKEN."
    exit 0
  fi
  first_run=yes
fi
export BAO_TOKEN

# A fresh OpenBao needs a moment until it is unsealed and active.
tries=0
until bao token lookup >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -ge 60 ]; then
    say "OpenBao does not accept the token: sealed, or the token is not valid any more"
    exit 1
  fi
  sleep 1
done

# --- Engines --------------------------------------------------------------------------------------------------------

enable() { # path type [options…]
  path=$1
  type=$2
  shift 2
  if bao secrets list -format=json | grep -q "\"$path/\""; then return; fi
  bao secrets enable -path="$path" "$@" "$type"
}

enable database database
enable pki pki -max-lease-ttl=87600h
enable ssh ssh
enable secret kv -version=2

# --- PostgreSQL: short-lived users ------------------------------------------------------------------------------------

if ! bao read database/config/orders >/dev/null 2>&1; then
  bao write database/config/orders \
    plugin_name=postgresql-database-plugin \
    allowed_roles=orders-ro,orders-rw,orders-rw-staging,reports-ro \
    connection_url="postgresql://{{username}}:{{password}}@${DATABASE_HOST}/orders?sslmode=$sslmode" \
    username=vault_admin \
    password="$(cat "$password_file")" \
    max_open_connections=8
  # From now on OpenBao alone knows the password of vault_admin.
  bao write -f database/rotate-root/orders
fi

database_role() { # role group default_ttl max_ttl
  bao write "database/roles/$1" \
    db_name=orders \
    creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE $2" \
    revocation_statements="SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'" \
    revocation_statements="DROP ROLE IF EXISTS \"{{name}}\"" \
    default_ttl="$3" \
    max_ttl="$4"
}

# max_ttl is the `ttl.max` of the Credential; default_ttl its usual life, which saves the broker one call a grant.
database_role orders-ro orders_read 15m 1h
database_role orders-rw orders_write 15m 1h
database_role orders-rw-staging orders_write 1h 8h
database_role reports-ro orders_read 15m 2h

# --- PKI: certificates for mutual TLS ---------------------------------------------------------------------------------

if ! bao read pki/cert/ca >/dev/null 2>&1; then
  # In production: an intermediate, signed by a root that is offline.
  bao write pki/root/generate/internal common_name="example internal CA" key_type=ec key_bits=256 ttl=87600h >/dev/null
fi
bao write pki/roles/internal-tls \
  allowed_domains=internal.example.com \
  allow_subdomains=true \
  allow_localhost=false \
  allow_ip_sans=false \
  use_csr_common_name=false \
  use_csr_sans=false \
  key_type=ec \
  key_bits=256 \
  ttl=1h \
  max_ttl=24h

# --- SSH: signed keys of users ----------------------------------------------------------------------------------------

if ! bao read ssh/config/ca >/dev/null 2>&1; then
  bao write ssh/config/ca generate_signing_key=true key_type=ed25519 >/dev/null
fi
ssh_role() { # role max_ttl
  # The key id names workload and grant in the log of every sshd.
  bao write "ssh/roles/$1" \
    key_type=ca \
    allow_user_certificates=true \
    allowed_users=deploy \
    default_user=deploy \
    allow_user_key_ids=true \
    allowed_extensions=permit-pty \
    ttl="$2" \
    max_ttl="$2"
}
ssh_role deploy 30m
ssh_role deploy-staging 1h

# --- The broker's policy and login --------------------------------------------------------------------------------------

bao policy write writ-broker "$here/writ-broker.hcl"
bao policy write writ-wrapped "$here/writ-wrapped.hcl"

if ! bao auth list -format=json | grep -q '"approle/"'; then bao auth enable approle; fi
# Leases end with the token that made them, so the token is periodic: it is renewed for as long as the broker lives.
bao write auth/approle/role/writ \
  token_policies=writ-broker,writ-wrapped \
  token_no_default_policy=true \
  token_type=service \
  token_period=24h \
  secret_id_num_uses=0

rm -f "$login/role_id" "$login/secret_id"
bao read -field=role_id auth/approle/role/writ/role-id >"$login/role_id"
bao write -f -field=secret_id auth/approle/role/writ/secret-id >"$login/secret_id"
chmod 400 "$login/role_id" "$login/secret_id"
say "the login of the broker is in $login"

# --- Nothing all-powerful stays behind ----------------------------------------------------------------------------------

if [ -n "$first_run" ]; then
  bao token revoke -self >/dev/null
  sed -i 's/"root_token": *"[^"]*"/"root_token": ""/' "$state/init.json"
  say "the root token is revoked; bao operator generate-root makes another with the recovery key"
fi
say "done; put static secrets where the policies expect them, such as: bao kv put secret/vendor/reporting api_key=-"
