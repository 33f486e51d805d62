//! One connection: how it is made from a configuration, over TLS or not and as whom, how it is spoken over, and what its
//! errors mean. Whom to connect to is `masters`, how many connections there are `pool`.

use std::fs;
use std::time::Duration;

use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};

use crate::config::{Redis, RedisUrl, SecretValue};
use crate::store::StoreError;
use crate::store::root_key::io_error;

/// One connection, and whose it is.
pub(super) struct Link {
    connection: redis::Connection,
    server: RedisUrl,
}

impl Link {
    pub(super) const fn server(&self) -> &RedisUrl {
        &self.server
    }

    /// Sends a command and reads its answer.
    pub(super) fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, StoreError> {
        let answer = command.query::<Value>(&mut self.connection);
        self.read(answer)
    }

    /// Runs a script. Every key it touches is in `keys`.
    pub(super) fn run<T: FromRedisValue>(
        &mut self,
        script: &redis::Script,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T, StoreError> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        for argument in arguments {
            call.arg(argument.as_slice());
        }
        let answer = call.invoke::<Value>(&mut self.connection);
        self.read(answer)
    }

    /// How long an answer can take from now on.
    pub(super) fn set_response_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        let server = self.server.to_string();
        self.connection
            .set_read_timeout(Some(timeout))
            .map_err(|error| failed(&server, &error))
    }

    fn read<T: FromRedisValue>(&self, answer: Result<Value, RedisError>) -> Result<T, StoreError> {
        let value = answer.map_err(|error| failed(&self.server.to_string(), &error))?;
        T::from_redis_value(value).map_err(|_| StoreError::Damaged {
            what: "answer",
            why: format!("the store at {} gave one of another form", self.server),
        })
    }
}

/// What an error of a server or of the way to it means. A server's own words are cut short; they never hold a password,
/// because what answers to one is said in our words.
pub(super) fn failed(server: &str, error: &RedisError) -> StoreError {
    let server = server.to_owned();
    let said = || {
        let text = error.to_string();
        text.lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect::<String>()
    };
    let not_now = |why: &str| StoreError::NotNow {
        server: server.clone(),
        why: why.to_owned(),
    };
    let denied = |why: String| StoreError::Denied {
        server: server.clone(),
        why,
    };
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => StoreError::Unreachable {
            server,
            why: "it does not answer in time".to_owned(),
        },
        ErrorKind::Io => StoreError::Unreachable {
            server,
            why: said(),
        },
        ErrorKind::AuthenticationFailed => {
            denied("it does not take the user name and password".to_owned())
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => denied(format!("NOPERM: {}", said())),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => {
            not_now("it is still loading its data (LOADING)")
        }
        ErrorKind::Server(ServerErrorKind::ReadOnly) => {
            not_now("it is a replica and takes no writes (READONLY)")
        }
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            not_now("its part of the cluster has moved (MOVED)")
        }
        ErrorKind::Server(ServerErrorKind::TryAgain) => {
            not_now("its part of the cluster is being moved (TRYAGAIN)")
        }
        ErrorKind::Server(ServerErrorKind::ClusterDown) => {
            not_now("the cluster is down (CLUSTERDOWN)")
        }
        ErrorKind::Server(ServerErrorKind::MasterDown) => {
            not_now("it is a replica without its master (MASTERDOWN)")
        }
        _ if said().contains("WRONGTYPE") => StoreError::Damaged {
            what: "key",
            why: format!("{server} has something else under its name (WRONGTYPE)"),
        },
        _ => match error.code() {
            Some("NOAUTH") => denied("it wants a password (NOAUTH)".to_owned()),
            Some("WRONGPASS") => denied("it does not take the user name and password".to_owned()),
            Some("OOM") => not_now("its memory is full (OOM)"),
            Some("MISCONF") => not_now("it cannot write to its disk (MISCONF)"),
            Some("NOREPLICAS") => not_now("it has too few replicas to take writes (NOREPLICAS)"),
            Some("BUSY") => not_now("it is busy with somebody's script (BUSY)"),
            // A server that speaks no Redis, or half of an answer: nothing more is read from it.
            _ if error.kind() == ErrorKind::Parse => StoreError::Unreachable {
                server,
                why: "what it sends is no answer of Redis".to_owned(),
            },
            _ => StoreError::NotNow {
                server,
                why: said(),
            },
        },
    }
}

/// Makes connections to the servers of one configuration.
pub(super) struct Connector {
    config: Redis,
    certificates: Option<TlsCertificates>,
}

impl Connector {
    /// Reads the certificates; connects to nobody.
    pub(super) fn new(config: &Redis) -> Result<Self, StoreError> {
        let certificates = match &config.ca_file {
            None => None,
            Some(path) => Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(fs::read(path).map_err(io_error(path))?),
            }),
        };
        Ok(Self {
            config: config.clone(),
            certificates,
        })
    }

    pub(super) const fn config(&self) -> &Redis {
        &self.config
    }

    /// All servers that were named, for a sentence.
    pub(super) fn named(&self) -> String {
        let names: Vec<String> = self
            .config
            .servers
            .iter()
            .map(ToString::to_string)
            .collect();
        names.join(", ")
    }

    /// A new connection to this server.
    pub(super) fn open(&self, server: &RedisUrl) -> Result<Link, StoreError> {
        self.open_as(
            server,
            self.config.username.as_deref(),
            self.config.password.as_ref(),
        )
    }

    pub(super) fn open_as(
        &self,
        server: &RedisUrl,
        username: Option<&str>,
        password: Option<&SecretValue>,
    ) -> Result<Link, StoreError> {
        let name = server.to_string();
        let error = |error: RedisError| failed(&name, &error);
        let address = if server.tls {
            ConnectionAddr::TcpTls {
                host: server.host.clone(),
                port: server.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(server.host.clone(), server.port)
        };
        // Redis before 7.2 answers an error to a name of ours, and a narrow ACL user may not give one.
        let mut who = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = username {
            who = who.set_username(username);
        }
        if let Some(password) = password {
            who = who.set_password(password.expose());
        }
        let settings = address.clone().into_connection_info().map_err(error)?;
        let tcp = settings.tcp_settings().clone().set_nodelay(true);
        let settings: ConnectionInfo = settings.set_tcp_settings(tcp).set_redis_settings(who);
        let client = match &self.certificates {
            Some(certificates) if server.tls => {
                Client::build_with_tls(settings, certificates.clone()).map_err(error)?
            }
            _ => Client::open(settings).map_err(error)?,
        };
        let connection = client
            .get_connection_with_timeout(self.config.connect_timeout)
            .map_err(error)?;
        let timeout = Some(self.config.response_timeout);
        connection.set_read_timeout(timeout).map_err(error)?;
        connection.set_write_timeout(timeout).map_err(error)?;
        Ok(Link {
            connection,
            server: server.clone(),
        })
    }
}
