import Foundation
import IRQMux
import KVM
import MicroGuest

/// A real guest that takes the vectors' messages and keeps the books of them in its memory, where the host reads them.
///
/// For each vector there are three words: how many signals the raisers have begun to raise (the host writes it before
/// each), what the guest's handler read there when it last ran, and how often it ran.
final class SoakGuest: Sendable {
    /// The interrupt vector of message 0; the processor's exceptions and the PICs' lines are below.
    private static let firstVector: UInt8 = 0x40
    /// Nobody answers at this port: an exception, or an interrupt without a handler, ends the guest.
    private static let faultPort: UInt16 = 0x530
    private static let begun: UInt16 = 0xf800
    private static let seen: UInt16 = 0xf900
    private static let runs: UInt16 = 0xfa00
    /// How many vectors have room.
    static let mostVectors = 64

    private let guest: MicroGuest
    private let vectors: Int

    init(vectors: Int) throws {
        precondition(vectors <= SoakGuest.mostVectors)
        self.vectors = vectors
        guest = try MicroGuest(image: Self.image(vectors))
        try guest.start()
    }

    /// Gives every loop the guest, and each vector a GSI of its own, committed together.
    func attach(to group: MuxGroupRemote) throws -> [GSI] {
        try group.attach(guest: guest.virtualMachine, routes: .irqChipDefaults())
        let vectors = vectors
        return try group[0].perform { (mux) throws(MuxError) in
            var gsis: [GSI] = []
            for vector in 0..<vectors {
                gsis.append(try mux.allocateGSI(message: 0xfee0_0000, data: UInt32(Self.firstVector) + UInt32(vector)))
            }
            try mux.commitRoutes()
            return gsis
        }
    }

    /// A raiser is about to raise.
    func begin(_ vector: Int) { guest.add(1, at: Self.word(Self.begun, vector)) }

    /// How often the guest's handler has run.
    func runs(_ vector: Int) -> UInt64 { UInt64(guest.load(Self.word(Self.runs, vector))) }

    /// Whether the handler ran after the last signal had begun to be raised: had that one been lost, it would not have.
    func hasSeenLast(_ vector: Int) -> Bool {
        let begun = guest.load(Self.word(Self.begun, vector))
        return begun > 0 && guest.load(Self.word(Self.seen, vector)) == begun
    }

    /// Waits until no handler has run for a while: what was injected last may still wait its turn in the local APIC.
    func awaitCalm() {
        func sum() -> UInt64 { (0..<vectors).reduce(0) { $0 + runs($1) } }
        var last = sum()
        for _ in 0..<100 {
            usleep(20_000)
            let now = sum()
            if now == last { return }
            last = now
        }
    }

    /// Why it is not running any more; `nil` while it runs.
    var exit: GuestExit? { guest.exit }

    func stop() { guest.stop() }

    private static func word(_ table: UInt16, _ vector: Int) -> UInt16 { table + UInt16(4 * vector) }

    private static func image(_ vectors: Int) -> GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.sti()
        code.haltForEver()
        for vector in UInt8.min...UInt8.max {
            image.setVector(vector, to: code.here)
            code.writeWord(UInt16(vector), port: faultPort)
            code.haltForEver()
        }
        // The local APIC's spurious interrupt is not acknowledged.
        image.setVector(0xff, to: code.here)
        code.iret()
        for vector in 0..<vectors {
            image.setVector(firstVector + UInt8(vector), to: code.here)
            code.loadEAX(word(begun, vector))
            code.storeEAX(word(seen, vector))
            code.incrementDWord(word(runs, vector))
            code.endOfInterruptX2APIC()
            code.iret()
        }
        image.place(code)
        return image
    }
}
