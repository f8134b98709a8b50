//! Kinds of events. Imports nothing.

/// What happened to the packet.
///
/// There will be more kinds than these, so this is a number and no enum: whatever reads events passes over those of
/// kinds that it does not know, and recordings keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EventKind(pub u32);

impl EventKind {
    /// The packet entered the function.
    pub const ENTRY: EventKind = EventKind(0);
    /// The function that the packet had entered returned.
    pub const RETURN: EventKind = EventKind(1);
    /// The packet was made of another one, whose identity is in [`super::Event::spare`], by the function of the event,
    /// which is [`super::NO_FUNCTION`] if it is not traced.
    pub const BORN: EventKind = EventKind(2);
    /// The packet became part of another one, whose identity is in [`super::Event::spare`]: the event that follows is
    /// its end, with the outcome [`super::Outcome::Joined`]. Some packets are kept as parts until the other one ends,
    /// and end then.
    pub const JOINED: EventKind = EventKind(3);
    /// The packet's sk_buff was released (the functions that tear it down may follow): its [`super::Outcome`] is in
    /// [`super::Event::spare`]. The function is the one that dropped the packet, [`super::NO_FUNCTION`] if that is not
    /// known or the packet was not dropped.
    pub const ENDED: EventKind = EventKind(4);
    /// It was decided what becomes of the packet: the [`super::Decision`] is in [`super::Event::spare`]. The function is
    /// what decided, such as a chain of a firewall, which has an entry of its own in the function table. It may come
    /// after the packet's end, if what decides drops the packet itself.
    pub const DECIDED: EventKind = EventKind(5);
    /// Functions were running when the packet was dropped: the event that follows is its end. The function is the stack,
    /// which has an entry of its own in the function table; [`super::stack`] has the form of its name.
    pub const STACK: EventKind = EventKind(6);

    /// Returns whether it is an entry or a return.
    #[inline]
    pub const fn is_call(self) -> bool {
        self.0 <= EventKind::RETURN.0
    }
}
