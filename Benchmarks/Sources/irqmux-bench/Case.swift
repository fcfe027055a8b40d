/// One thing that is measured, the same way for every engine.
struct Case: Sendable {
    enum Method: Sendable {
        /// `ready` of the sources are signalled, then all are dispatched; cost per event.
        case drain(ready: Int)
        /// Another processor signals; latency in the callback.
        case wake(Waiting)
        /// An interrupt goes into a guest, whose handler signals back; time for the whole loop, sleeping in the kernel.
        case guestLoop
        /// All sources are armed and disarmed; cost per source for both together.
        case arm
    }

    enum Waiting: Sendable { case spin, block }

    var name: String
    var method: Method
    /// How many eventfds are registered.
    var sources: Int
    /// How often it is repeated within a round; the round's value is the median.
    var repetitions: Int
    var about: String

    var needs: Abilities {
        switch method {
        case .drain, .arm: .drain
        case .wake(.spin): .spin
        case .wake(.block), .guestLoop: .block
        }
    }

    static let all: [Case] =
        [
            drain("drain-1", sources: 1, repetitions: 1000),
            drain("drain-64", sources: 64, repetitions: 100),
            drain("drain-2048", sources: 2048, repetitions: 15),
            Case(
                name: "wake-spin-1", method: .wake(.spin), sources: 1, repetitions: 200,
                about: "latency from another CPU's write to the callback, never sleeping"),
            Case(
                name: "wake-spin-64", method: .wake(.spin), sources: 64, repetitions: 200,
                about: "the same, a random one of 64 sources is signalled"),
            Case(
                name: "wake-block", method: .wake(.block), sources: 1, repetitions: 100,
                about: "the same with one source, sleeping in the kernel"),
            Case(
                name: "kvm-loop-block", method: .guestLoop, sources: 1, repetitions: 100,
                about: "irqfd, a guest's handler, ioeventfd: the closed loop, sleeping in the kernel"),
            Case(
                name: "arm-2048", method: .arm, sources: 2048, repetitions: 3,
                about: "starting and stopping to listen, per source"),
        ] + [1, 16, 256, 4096, 16_384].map { drain("sources-\($0)", sources: $0, repetitions: $0 == 1 ? 1000 : 50) }

    private static func drain(_ name: String, sources: Int, repetitions: Int) -> Case {
        let ready = name.hasPrefix("sources") ? min(64, sources) : sources
        return Case(
            name: name, method: .drain(ready: ready), sources: sources, repetitions: repetitions,
            about: "cost per event, \(ready) ready of \(sources) registered")
    }
}
