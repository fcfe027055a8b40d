import CKernel
import Testing

@testable import EventRing

@Suite("numbers that come round again", .hangLimit)
struct WrapTests {
    @Test(
        "an identity is not valid again when its place's generation passes the token's 24 bits",
        arguments: [
            RingTier.deferred, .epoll,
        ])
    func generation(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 1 }
        let eventfd = try EventFD()
        let first = try loop.add(eventfd.number, tag: 1)
        try loop.remove(first)
        _ = try loop.drain()
        // As after sixteen million sources more.
        loop.sources[0].generation = Token.generationMask
        let last = try loop.add(eventfd.number, tag: 2)
        try loop.remove(last)
        _ = try loop.drain()
        let next = try loop.add(eventfd.number, tag: 3)
        #expect(next != first)
        #expect(errno(of: { () throws(RingError) in try loop.remove(first) }) == ENOENT)
        try eventfd.signal()
        #expect(try loop.drain().map(\.tag) == [3])
        // The kernel's answers carry the low bits only, and are recognised by them.
        try loop.disarm(next)
        _ = try loop.drain()
        try eventfd.signal()
        try loop.arm(next)
        #expect(try loop.drain().map(\.tag) == [3])
        try loop.remove(next)
        _ = try loop.drain()
        #expect(loop.room == 1 && loop.unsettled == 0)
    }
}
