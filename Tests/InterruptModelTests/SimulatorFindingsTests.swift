import Simulator
import Testing

/// Histories that the mux's own order of operations once failed, since it is what the simulator runs: each was seen to
/// fail with what mended it taken out of `ServedHost` or `MessageCarrier`.
@Suite("What the simulator found in the mux")
struct SimulatorFindingsTests {
    struct Finding: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let history: History

        init(_ text: String, _ shape: History.Shape, _ steps: [Step]) {
            testDescription = text
            history = History(shape, steps)
        }
    }

    static let findings = [
        Finding(
            "a masked vector fires when SET_IRQS refuses to bring it back to the loop",
            .init(.msi, vectors: 2, hostVectors: 2),
            [
                Step(.control, 0, 27), Step(.eventFDCloses, 1, 0), Step(.program, 1, 0x41), Step(.storm, 1, 28),
            ]),
        Finding(
            "a vector whose new message SET_IRQS stands in the way of goes on with the old one",
            .init(.msi, vectors: 2),
            [Step(.control, 0, 30), Step(.eventFDCloses, 1, 0), Step(.program, 0, 0x600), Step(.raise, 1)]),
        Finding(
            "what a restored vector owes reaches the guest while the host holds it back",
            .init(.msix, vectors: 9),
            [
                Step(.control, 0, 2), Step(.raise, 0), Step(.saveRestore), Step(.haltAll), Step(.unmaskVector, 0),
            ]),
        Finding(
            "what a restored vector owes is forgotten when the host lets it go",
            .init(.msix, vectors: 4, swaps: true),
            [
                Step(.control, 0, 2), Step(.raise, 0), Step(.saveRestore), Step(.haltAll), Step(.unmaskVector, 0),
                Step(.resumeAll),
            ]),
        Finding(
            "what pended before a vector's first use is lost when the index grows",
            .init(.msix, vectors: 8, grows: false),
            [Step(.control, 0, 2), Step(.raise, 7), Step(.program, 3, 0x41), Step(.program, 7, 0x42)]),
        Finding(
            "that is forgotten when the guest unmasks the vector while the host holds it back",
            .init(.msix, vectors: 8, grows: false),
            [
                Step(.control, 0, 2), Step(.raise, 5), Step(.program, 4, 255), Step(.haltAll), Step(.program, 5, 28),
            ]),
        Finding(
            "what the device raised before it could be switched on is never told",
            .init(.msi, vectors: 2, swaps: true),
            [Step(.descriptorsRunOut, 0, 1), Step(.control, 0, 14), Step(.raise, 0)]),
        Finding(
            "a table is repaired no further than to the first vector that is refused",
            .init(.msix, vectors: 3),
            [
                Step(.control, 0, 2), Step(.program, 1, 0xE6), Step(.unmaskVector, 0), Step(.eventFDCloses, 0, 0),
                Step(.program, 0, 0xCB), Step(.backdoorReset), Step(.raise, 1),
            ]),
        Finding(
            "a pending bit that fires while several vectors are connected in vain is lost",
            .init(.msix, vectors: 9, hostVectors: 5, swaps: true),
            [
                Step(.control, 0, 3), Step(.unmaskVector, 2), Step(.raise, 3), Step(.unmaskVector, 6),
                Step(.unmaskVector, 4), Step(.program, 5, 0xEC), Step(.unmaskVector, 3), Step(.control, 0, 2),
            ]),
        Finding(
            "an index whose growth failed, with an eventfd that it had gone bad, stays off",
            .init(.msix, vectors: 4, grows: false, swaps: true),
            [Step(.control, 0, 2), Step(.eventFDCloses, 0, 0), Step(.unmaskVector, 1)]),
    ]

    @Test("is mended", arguments: findings)
    func mended(finding: Finding) {
        #expect(Simulation.run(finding.history) == nil, "\(Simulation.report(finding.history))")
    }

    /// The moment at which the device raises is any of those that there are while the index grows.
    @Test("what may be lost is not forgotten when the guest's unmask is refused, whenever the device raises")
    func refusedUnmask() {
        for moment in 0..<24 as Range<UInt32> {
            let history = History(
                .init(.msix, vectors: 8, grows: false),
                [
                    Step(.control, 0, 2), Step(.program, 0, 1), Step(.program, 1, 2), Step(.maskVector, 1),
                    Step(.raiseAmid, 1, moment), Step(.program, 4, 3), Step(.eventFDCloses, 1, 1),
                    Step(.unmaskVector, 1), Step(.heal),
                ])
            #expect(Simulation.run(history) == nil, "\(moment): \(Simulation.report(history))")
        }
    }

    /// Between the last look at the counter and the irqfd, too: what KVM injected is not passed again.
    @Test("a vector that goes past the loop loses nothing and tells nothing twice, whenever the device raises")
    func amidSettling() {
        for moment in 0..<24 as Range<UInt32> {
            let history = History(
                .init(.msix, vectors: 4),
                [
                    Step(.control, 0, 2), Step(.unmaskVector, 1), Step(.unmaskVector, 3), Step(.program, 2, 196),
                    Step(.raiseAmid, 2, moment), Step(.program, 0, 161), Step(.maskVector, 2), Step(.unmaskVector, 2),
                ])
            #expect(Simulation.run(history) == nil, "\(moment): \(Simulation.report(history))")
        }
    }

    /// MSI without masks pends nowhere: what the device raises while a refusal leaves it without an eventfd is gone.
    @Test("what a device without pending bits raises while an eventfd is refused is told, whenever it raises")
    func refusedBypass() {
        for moment in 0..<24 as Range<UInt32> {
            let history = History(
                .init(.msi, vectors: 1, masks: .nowhere),
                [
                    Step(.control, 0, 2), Step(.eventFDCloses, 0, 1), Step(.raiseAmid, 0, moment),
                    Step(.program, 0, 42),
                ])
            #expect(Simulation.run(history) == nil, "\(moment): \(Simulation.report(history))")
        }
    }
}
