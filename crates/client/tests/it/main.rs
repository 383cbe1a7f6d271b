//! The client against servers that are wrong in one thing at a time.

#[cfg(test)]
mod call;
#[cfg(test)]
mod discover;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod machine;
