# One node on raft storage. It unseals itself with a key from a file; in production let a KMS or an HSM hold that key
# (seal "awskms", "gcpckms", "azurekeyvault", "pkcs11", "transit").

api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"

storage "raft" {
  path    = "/openbao/file"
  node_id = "openbao"
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/run/secrets/openbao.pem"
  tls_key_file    = "/run/secrets/openbao.key"
  tls_min_version = "tls12"
}

seal "static" {
  current_key_id = "1"
  current_key    = "file:///run/secrets/unseal.key"
}

# Every request and answer, with secrets as keyed hashes. When it cannot be written, OpenBao refuses requests.
audit "file" "file" {
  description = "all requests"
  options = {
    file_path = "/openbao/logs/audit.log"
    mode      = "0600"
  }
}
