//! [`Place`]: an archive's URL, taken apart.

use std::fmt;
use std::path::PathBuf;

use object_store::path::Path;

use crate::settings::StoreProblem;

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    File,
    S3,
    Azure,
    Google,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Google => "gs",
        }
    }
}

/// Where archives are: a folder, or a prefix in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    /// Bucket or container; empty for a folder.
    pub(crate) bucket: String,
    /// Below the bucket; empty for a folder.
    pub(crate) prefix: Path,
    /// The folder; empty otherwise.
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self, StoreProblem> {
        let refuse = |reason: &str, fix: &str| {
            // What follows a ? is a signature more often than not.
            let plain = url.split(['?', '#']).next().unwrap_or_default();
            let shown = eidos_settings::secret::shown("archive_store.place", plain);
            Err(StoreProblem::new("url", shown, reason, fix))
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return refuse(
                "is not a URL",
                "use file:///folder, s3://bucket/prefix, az://… or gs://…",
            );
        };
        let scheme = match scheme {
            "file" => Scheme::File,
            "s3" => Scheme::S3,
            "az" => Scheme::Azure,
            "gs" => Scheme::Google,
            _ => {
                return refuse(
                    "names no store this program knows",
                    "use file://, s3://, az:// or gs://",
                );
            }
        };
        if rest.contains(['?', '#', '%', '\\']) || rest.chars().any(char::is_control) {
            return refuse(
                "holds one of ? # % \\",
                "use plain names without parameters or escapes",
            );
        }
        let steps: Vec<&str> = rest.split('/').filter(|step| !step.is_empty()).collect();
        if steps.iter().any(|step| matches!(*step, "." | "..")) {
            return refuse("holds . or ..", "name the place directly");
        }
        if scheme == Scheme::File {
            if !rest.starts_with('/') || steps.is_empty() {
                return refuse(
                    "names no absolute folder",
                    "write three slashes: file:///var/lib/eidos/archive",
                );
            }
            return Ok(Self {
                scheme,
                bucket: String::new(),
                prefix: Path::default(),
                folder: PathBuf::from(format!("/{}", steps.join("/"))),
            });
        }
        let Some((bucket, prefix)) = steps.split_first().filter(|_| !rest.starts_with('/')) else {
            return refuse("names no bucket", "use s3://bucket/prefix");
        };
        if bucket.contains(['@', ':']) {
            return refuse(
                "holds credentials or a port in place of a bucket",
                "use s3://bucket/prefix with endpoint, access_key_id and secret_access_key beside it",
            );
        }
        match Path::parse(prefix.join("/")) {
            Ok(prefix) => Ok(Self {
                scheme,
                bucket: (*bucket).to_owned(),
                prefix,
                folder: PathBuf::new(),
            }),
            Err(_) => refuse(
                "holds characters no key should have",
                "use letters, digits, - and _",
            ),
        }
    }

    /// Returns the whole location of a key, for people.
    pub(crate) fn location(&self, key: &str) -> String {
        let slash = if key.is_empty() { "" } else { "/" };
        format!("{self}{slash}{key}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        if self.scheme == Scheme::File {
            return write!(f, "{}", self.folder.display());
        }
        f.write_str(&self.bucket)?;
        if self.prefix.as_ref().is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_place_is_read_and_shown() {
        for (url, shown) in [
            ("file:///var/lib/archive", "file:///var/lib/archive"),
            ("file:///var//lib/archive/", "file:///var/lib/archive"),
            ("s3://eidos-archive/db/", "s3://eidos-archive/db"),
            ("s3://bucket", "s3://bucket"),
            ("az://container/a/b", "az://container/a/b"),
            ("gs://bucket/a", "gs://bucket/a"),
        ] {
            let place = Place::parse(url).unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(place.location("x/y"), format!("{shown}/x/y"));
        }
    }

    #[test]
    fn others_are_refused_without_showing_a_password() {
        for url in [
            "",
            "archive",
            "/var/lib",
            "file://relative/folder",
            "file:///",
            "ftp://host/a",
            "s3://",
            "s3:///key",
            "s3://bucket/../other",
            "s3://bucket/a?x=y",
            "s3://user:hunter2@bucket/a",
            "az://archive?sv=2024-11-04&sig=hunter2",
            "https://archive.example/a#hunter2",
            "s3://host:9000/a",
            "s3://bucket/%2e%2e",
            "file:///var/./x",
        ] {
            let problem = Place::parse(url).unwrap_err();
            assert_eq!(problem.key, "url", "{url}");
            assert!(!problem.value.contains("hunter2"), "{problem:?}");
        }
    }
}
