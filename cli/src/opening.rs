//! Opens a session as the command line asks for it.

use fletching::Session;

use crate::arguments::SessionArguments;
use crate::failure::Failure;

/// Makes a session with every connector of this build.
pub(crate) fn open(arguments: &SessionArguments) -> Result<Session, Failure> {
    let mut builder = Session::builder()
        .connectors(fletching_connectors::all())
        .storages(fletching_connectors::storages());
    if let Some(threads) = arguments.threads {
        builder = builder.threads(threads.get());
    }
    builder.build().map_err(|error| Failure::engine(&error, |_| None))
}

/// Sets what was given with `--set` and is not used in a script as `${name}`.
pub(crate) fn apply(
    session: &Session,
    arguments: &SessionArguments,
    is_used: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    for (name, value) in arguments.values.iter().filter(|(name, _)| !is_used(name)) {
        session
            .set(name, value)
            .map_err(|error| Failure::engine(&error, |_| None))?;
    }
    Ok(())
}
