//! Finds the functions that the kernel refuses, for links that take many functions at once: it refuses the whole link
//! and does not say for which. Bisection finds them. It imports `reason`.

use std::io;
use std::os::fd::OwnedFd;

use super::reason::{self, Mechanism};
use super::{ProbeError, Refused, Target};
use crate::kernel::Root;

/// Number of refused links in a row after which the kernel is assumed to accept none.
const TRIES: u32 = 12;

/// The links of one backend, and the functions that the kernel refuses.
pub(super) struct Bisection<'a> {
    root: &'a Root,
    backend: &'static str,
    mechanism: Mechanism,
    /// Created links.
    pub(super) links: Vec<OwnedFd>,
    /// Refused functions.
    pub(super) refused: Vec<Refused<'a>>,
    refusals: u32,
}

impl<'a> Bisection<'a> {
    /// Starts with the functions that were refused before.
    pub(super) fn new(root: &'a Root, backend: &'static str, mechanism: Mechanism, refused: Vec<Refused<'a>>) -> Self {
        Bisection {
            root,
            backend,
            mechanism,
            links: Vec::new(),
            refused,
            refusals: 0,
        }
    }

    /// Creates links with `link` for all functions that the kernel accepts, and returns them.
    pub(super) fn link(
        &mut self,
        targets: &[Target<'a>],
        link: &impl Fn(&[Target<'a>]) -> io::Result<OwnedFd>,
    ) -> Result<Vec<Target<'a>>, ProbeError> {
        let error = match link(targets) {
            Ok(link) => {
                self.links.push(link);
                return Ok(targets.to_vec());
            }
            Err(error) => error,
        };
        self.give_up_if_hopeless(&error)?;
        match targets {
            [] => Ok(Vec::new()),
            [one] => {
                let reason = reason::of_function(self.root, self.mechanism, &error, one.function);
                self.refused.push(Refused::new(*one, reason));
                Ok(Vec::new())
            }
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                let mut done = self.link(left, link)?;
                done.extend(self.link(right, link)?);
                Ok(done)
            }
        }
    }

    /// Returns an error that no function causes: the machine refuses any call, or the kernel the whole mechanism.
    fn give_up_if_hopeless(&mut self, error: &io::Error) -> Result<(), ProbeError> {
        let code = error.raw_os_error();
        if let Some(reason) = code.and_then(|code| reason::of_any_call(self.root, code)) {
            return Err(ProbeError::Machine {
                what: "cannot attach to the functions",
                reason,
            });
        }
        self.refusals += 1;
        let reason = match code.and_then(|code| self.mechanism.lacks(code)) {
            Some(lacking) => lacking.to_owned(),
            None if self.links.is_empty() && self.refusals > TRIES => error.to_string(),
            None => return Ok(()),
        };
        Err(ProbeError::Unsupported {
            backend: self.backend,
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Candidate;
    use crate::kernel::testing::Tree;
    use crate::probe::targets;
    use crate::probe::testing::candidate_at;

    fn link_of(accept: impl Fn(&str) -> bool) -> impl Fn(&[Target<'_>]) -> io::Result<OwnedFd> {
        move |targets| {
            if targets.iter().all(|target| accept(&target.function.name)) {
                Ok(std::fs::File::open("/dev/null")?.into())
            } else {
                Err(io::Error::from_raw_os_error(libc::EINVAL))
            }
        }
    }

    fn functions(count: usize) -> Vec<Candidate> {
        (0..count).map(|index| candidate_at(&format!("f{index}"), 0)).collect()
    }

    #[test]
    fn only_refused_functions_are_left_out() {
        let (tree, functions) = (Tree::new(), functions(20));
        let root = tree.root();
        let all = targets(&functions, 0, &[], false);
        let mut bisection = Bisection::new(&root, "any", Mechanism::KprobeMulti, Vec::new());
        let done = bisection
            .link(&all, &link_of(|name| name != "f3" && name != "f17"))
            .expect("most are accepted");
        let refused: Vec<&str> = (bisection.refused.iter())
            .map(|refused| refused.target.function.name.as_str())
            .collect();
        assert_eq!((done.len(), refused), (18, vec!["f3", "f17"]));
    }

    #[test]
    fn a_kernel_that_refuses_all_is_detected_early() {
        let (tree, functions) = (Tree::new(), functions(4096));
        let root = tree.root();
        let all = targets(&functions, 0, &[], false);
        let mut bisection = Bisection::new(&root, "any", Mechanism::Trampoline, Vec::new());
        let tries = std::cell::Cell::new(0);
        let result = bisection.link(&all, &|_: &[Target<'_>]| {
            tries.set(tries.get() + 1);
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        });
        assert!(matches!(result, Err(ProbeError::Unsupported { .. })), "{result:?}");
        assert_eq!(tries.get(), TRIES + 1);
    }

    #[test]
    fn a_kernel_without_fprobe_is_detected_at_once() {
        let (tree, functions) = (Tree::new(), functions(2));
        let root = tree.root();
        let all = targets(&functions, 0, &[], false);
        let mut bisection = Bisection::new(&root, "any", Mechanism::KprobeMulti, Vec::new());
        let result = bisection.link(&all, &|_: &[Target<'_>]| {
            Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
        });
        let error = result.expect_err("it is refused").to_string();
        assert!(error.contains("CONFIG_FPROBE"), "{error}");
    }
}
