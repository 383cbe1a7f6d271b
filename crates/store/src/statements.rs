//! Statements are constants beside the function that runs them, and each is in its file's catalogue, so that a test can
//! prepare every one of them on both engines after migration.

/// A statement as the catalogue lists it.
#[cfg_attr(not(test), expect(dead_code, reason = "the catalogue is for a test"))]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// The one engine that it is for, or both.
    pub(crate) only: Option<crate::connection::Dialect>,
}

/// Declares constants of SQL, and `ALL`, their catalogue.
macro_rules! statements {
    (@only) => { None };
    (@only $dialect:ident) => { Some($crate::connection::Dialect::$dialect) };
    ($($(#[$doc:meta])* $name:ident $(for $dialect:ident)? = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*

        #[cfg_attr(not(test), expect(dead_code, reason = "the catalogue is for a test"))]
        pub(crate) const ALL: &[$crate::statements::Statement] = &[$(
            $crate::statements::Statement {
                name: stringify!($name),
                sql: $name,
                only: statements!(@only $($dialect)?),
            },
        )*];
    };
}
pub(crate) use statements;
