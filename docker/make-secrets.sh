#!/bin/sh
# Makes what compose.yaml needs and nobody else should know: passwords, the unseal key, a private CA and two certificates.
# What exists is kept. The folder is closed to others; the files in it are readable, because containers run as other users.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
cd secrets
umask 022

random() { [ -s "$1" ] || openssl rand -hex 32 | tr -d '\n' >"$1"; }
random postgres_password
random vault_admin_password
[ -s unseal.key ] || openssl rand -out unseal.key 32

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [ ! -s ca.pem ]; then
  key ca.key
  chmod 600 ca.key
  openssl req -x509 -new -sha256 -key ca.key -days 3650 -subj "/CN=writ compose CA" -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi

certificate() { # name subjectAltName
  if [ -s "$1.pem" ]; then return; fi
  key "$1.key"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$2" >"$1.ext"
  openssl req -new -sha256 -key "$1.key" -subj "/CN=$1" |
    openssl x509 -req -sha256 -days 365 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile "$1.ext" -out "$1.pem"
  rm -f "$1.ext"
  chmod 644 "$1.key"
}
certificate openbao "DNS:openbao,DNS:localhost,IP:127.0.0.1"
certificate writ "DNS:writ,DNS:localhost,IP:127.0.0.1"
