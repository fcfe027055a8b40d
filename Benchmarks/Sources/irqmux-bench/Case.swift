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
        /// A vector that is routed into a guest is masked and unmasked; the peer deassigns and assigns its irqfd.
        /// Either while nothing comes, or while the device raises the vector 100,000 times a second.
        case maskGuest(underFire: Bool)
        /// A vector's route is changed to the first and back to the second; the change to the first is timed.
        case routeSwitch(BenchRoute, from: BenchRoute)
        /// A quiet vector beside another one, which storms or is silent, under weighted scheduling.
        case starvation(Waiting, storm: Bool)
        /// A live vector of a guest's MSI-X is masked and unmasked by writing its table; the peer deassigns and
        /// assigns.
        case maskTable
        /// A guest writes an entry of its MSI-X table that changes nothing.
        case tableAccess
        /// Interrupts of as many vectors as there are sources reach a handler in C; cost per event.
        case callback
        /// A guest enables its MSI-X vectors one by one; how many calls that took.
        case enableTable(vectors: Int, TableCount)
        /// Vectors come up with routes into a guest; how often the routing table was committed.
        case routing(vectors: Int)

        /// Whether it is the mux that is measured, not a loop over the harness's sources.
        var isOfMux: Bool {
            switch self {
            case .maskGuest, .routeSwitch, .starvation, .routing, .maskTable, .tableAccess, .enableTable, .callback:
                true
            case .drain, .wake, .guestLoop, .arm: false
            }
        }
    }

    /// SET_IRQS, or KVM_SET_GSI_ROUTING.
    enum TableCount: Sendable { case requests, commits }

    enum BenchRoute: Sendable { case handler, guest, detour }

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
        case .maskGuest: .mask
        case .maskTable: .maskTable
        case .callback: .callback
        case .routeSwitch, .starvation, .routing, .tableAccess, .enableTable: .mux
        }
    }

    /// What its value is in.
    var unit: String {
        switch method {
        case .routing, .enableTable(_, .commits): "commits"
        case .enableTable(_, .requests): "calls"
        default: "ns"
        }
    }

    /// File descriptors that it needs beside a few of its own.
    var descriptors: Int {
        switch method {
        case .routing(let vectors), .enableTable(let vectors, _): 3 * vectors + 64
        default: sources + 64
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
        ] + ofMux
        + [1, 16, 256, 4096, 16_384].map { drain("sources-\($0)", sources: $0, repetitions: $0 == 1 ? 1000 : 50) }

    private static let ofMux: [Case] =
        [
            Case(
                name: "mask-guest", method: .maskGuest(underFire: false), sources: 1, repetitions: 30,
                about: "mask and unmask of a vector routed into a guest; irqfd-cycle: deassign and assign"),
            Case(
                name: "mask-guest-fire", method: .maskGuest(underFire: true), sources: 1, repetitions: 30,
                about: "the same while the device raises the vector 100,000 times a second"),
            Case(
                name: "route-switch-in", method: .routeSwitch(.guest, from: .handler), sources: 1, repetitions: 200,
                about: "a route changes from handler to guest"),
            Case(
                name: "route-switch-out", method: .routeSwitch(.handler, from: .guest), sources: 1, repetitions: 200,
                about: "a route changes from guest to handler"),
            Case(
                name: "detour-in", method: .routeSwitch(.guest, from: .detour), sources: 1, repetitions: 200,
                about: "a route changes from detour to guest"),
            Case(
                name: "detour-out", method: .routeSwitch(.detour, from: .guest), sources: 1, repetitions: 200,
                about: "a route changes from guest to detour"),
        ]
        + [(Waiting.block, "block"), (.spin, "spin")].flatMap { waiting, name in
            [
                Case(
                    name: "quiet-\(name)", method: .starvation(waiting, storm: false), sources: 2, repetitions: 400,
                    about: "p99 from write to handler of a vector beside a silent one, weighted schedule"),
                Case(
                    name: "storm-\(name)", method: .starvation(waiting, storm: true), sources: 2, repetitions: 400,
                    about: "the same beside a vector in full storm"),
            ]
        } + [
            Case(
                name: "routing-2048", method: .routing(vectors: 2048), sources: 1, repetitions: 1,
                about: "KVM_SET_GSI_ROUTING calls to bring 2048 vectors up")
        ] + ofTables

    private static let ofTables: [Case] = [
        Case(
            name: "c-callback", method: .callback, sources: 64, repetitions: 400,
            about: "cost per interrupt by the C library's callback, 64 vectors ready; swift-handler: by Mux.next"),
        Case(
            name: "mask-msix", method: .maskTable, sources: 1, repetitions: 30,
            about: "mask and unmask of a live vector by writing the guest's MSI-X table; irqfd-cycle as above"),
        Case(
            name: "msix-unchanged", method: .tableAccess, sources: 1, repetitions: 1000,
            about: "a write of the guest's MSI-X table that changes nothing"),
        Case(
            name: "msix-enable-2048", method: .enableTable(vectors: 2048, .requests), sources: 1, repetitions: 1,
            about: "SET_IRQS calls while a guest enables 2048 vectors one by one"),
        Case(
            name: "msix-commits-2048", method: .enableTable(vectors: 2048, .commits), sources: 1, repetitions: 1,
            about: "KVM_SET_GSI_ROUTING calls while a guest enables 2048 vectors one by one"),
    ]

    private static func drain(_ name: String, sources: Int, repetitions: Int) -> Case {
        let ready = name.hasPrefix("sources") ? min(64, sources) : sources
        return Case(
            name: name, method: .drain(ready: ready), sources: sources, repetitions: repetitions,
            about: "cost per event, \(ready) ready of \(sources) registered")
    }
}
