internal import CKernel

// What it takes to carry a source from one loop to another: to know that a loop has told all it was going to tell of
// it, that the kernel has let go of it, and to have a place for it elsewhere before it goes.
extension EventLoop {
    /// Adds a source that is not listened to before `arm`. Errors as `add`.
    public mutating func addDisarmed(
        _ descriptor: Int32, tag: UInt64, delivery: Delivery = .edge
    ) throws(RingError) -> SourceID {
        let source = try add(descriptor, tag: tag, delivery: delivery)
        try disarm(source)
        return source
    }

    /// Whether nothing listens to a source: it was disarmed and the last completion of its request has been seen, or an
    /// `acknowledged` event was handed out. No event of it comes until `arm`.
    ///
    /// - Throws: `ENOENT` when it was removed.
    public func isIdle(_ source: SourceID) throws(RingError) -> Bool {
        sources[try sources.locate(source, "looking at a source")].phase == .idle
    }

    /// Whether the last wait looked and found nothing: all that was signalled before it has been handed out.
    public var isDrained: Bool { position == queue.end && !direct.hasReady && !backend.overflowed }

    /// After how many waits, with everything handed out between them, whatever was signalled before the first of them
    /// has been handed out, however much has come since: the kernel serves in order, at least 20 sources a look (a
    /// spinning loop reads one of its two), and what the last look brought is handed out before the next.
    public var waitsUntilDrained: Int { (Int(sourceCount) + Int(cancelling)) / Int(Self.fullFetch) + 4 }
}
