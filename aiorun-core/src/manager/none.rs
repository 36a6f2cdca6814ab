//! No service manager: the feature `systemd` is off, or the system is one without it.

use std::time::{Duration, Instant};

/// Nobody.
#[derive(Debug)]
pub(crate) enum Manager {}

impl Manager {
    pub(crate) fn of_environment() -> Option<Self> {
        None
    }

    pub(crate) fn ready(&mut self) -> bool {
        match *self {}
    }

    pub(crate) fn stopping(&mut self, _: bool) {
        match *self {}
    }

    pub(crate) fn tell(&mut self, _: &str, _: Option<Duration>) {
        match *self {}
    }

    pub(crate) fn trouble(&mut self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn next_time(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn check_time(&mut self, _: Instant) -> bool {
        match *self {}
    }
}
