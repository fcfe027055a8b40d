import EventRing
import Testing

struct Counter: EventHandler {
    var events: [UInt64] = []
    var stopAfter = Int.max
    mutating func handle(_ event: Event, on loop: inout EventLoop) {
        events.append(event.tag)
        if events.count >= stopAfter { loop.stop() }
    }
}

@Test("one signal is one event", arguments: RingTier.allCases)
func oneSignal(tier: RingTier) throws {
    var options = LoopOptions()
    options.bestTier = tier
    var loop = try EventLoop(options)
    #expect(loop.report.tier == tier)
    let fd = try EventFD()
    _ = try loop.add(fd.number, tag: 7)
    var counter = Counter(stopAfter: 1)
    try fd.signal()
    try loop.run(&counter)
    #expect(counter.events == [7])
    counter.stopAfter = 2
    try fd.signal()
    try loop.run(&counter)
    #expect(counter.events == [7, 7])
}
