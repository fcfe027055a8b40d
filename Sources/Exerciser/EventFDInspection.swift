internal import EventRing
internal import InterruptModel

extension ForeignEventFD {
    /// An eventfd as the model remembers it.
    init(_ eventFD: AssignedEventFD) { self.init(identity: eventFD.identity) }

    /// One that its owner lends, for the model to remember.
    static func lent(_ number: Int32) -> AssignedEventFD {
        AssignedEventFD(number: number, identity: ForeignEventFD(lent: number).identity)
    }

    /// Looks at a descriptor of a request, for the model.
    static func lookUp(_ number: Int32, _ probe: borrowing EventFDProbe, shortage: inout Int32) -> EventFDLookup {
        guard let (held, isEventFD) = duplicating(number, probe, shortage: &shortage) else { return .notOpen }
        return isEventFD ? .eventFD(identity: held.identity) : .otherFile(identity: held.identity)
    }
}
