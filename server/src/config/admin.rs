use super::{Auth, Keys};
use anyhow::{Result, ensure};
use std::{net::SocketAddr, path::PathBuf};

/// The admin listener: packs put, deleted and reloaded, the server drained. Off until it has a token.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Admin listener")]
pub struct Admin {
    /// Address of the admin listener [default once there is a token: 127.0.0.1:8081].
    #[arg(long, env = "S3ROUTER_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// File of admin tokens, one a line, `#` starts a comment; sent as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "S3ROUTER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Admin token. Other users of the machine can read flags: prefer the variable or the file.
    #[arg(long, env = "S3ROUTER_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub admin_token: Option<Token>,
    /// Largest pack that may be put, bytes.
    #[arg(long, env = "S3ROUTER_MAX_PACK_BYTES", value_name = "BYTES", default_value_t = Admin::default().max_pack_bytes)]
    pub max_pack_bytes: usize,
}

/// A secret that no log line shows.
#[derive(Clone)]
pub struct Token(String);

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Default for Admin {
    /// A pack of XLS-R 2B with attention covered takes half of the bytes.
    fn default() -> Self {
        Self { admin_listen: None, admin_token_file: None, admin_token: None, max_pack_bytes: 512 << 20 }
    }
}

impl Admin {
    /// Every token of flag, environment and file.
    ///
    /// # Errors
    /// A file that cannot be read or holds no token; an address without a token.
    pub fn tokens(&self) -> Result<Keys> {
        let token = self.admin_token.iter().map(|t| t.0.clone()).collect();
        let named = Auth { api_key_file: self.admin_token_file.clone(), api_keys: token };
        let tokens = named.keys_named("--admin-token-file")?;
        ensure!(
            tokens.required() || self.admin_listen.is_none(),
            "--admin-listen needs a token: --admin-token-file FILE, or the variable S3ROUTER_ADMIN_TOKEN"
        );
        Ok(tokens)
    }

    /// Where to listen, once there is a token.
    pub fn address(&self) -> SocketAddr {
        self.admin_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081)))
    }
}
