// rpc-pair: a guest calls procedures of this process over a doorbell and a completion.
//
//   guest writes a request into its memory ── doorbell (ioeventfd) ──→ Server works it off, writes the answer
//   guest takes the interrupt, checks it  ←── completion (irqfd) ──── and signals
//
// Neither way leaves KVM_RUN: the doorbell is rung, and the completion injected, inside the kernel.
import EventRing
import Foundation
import IRQMux
import KVM
import MicroGuest

@main
struct RPCPair {
    static let usage = """
        usage: rpc-pair [CALLS]
        Serves CALLS calls of a guest, one after the other (2 to 10000000, made even; default 2000).
        Exit codes: 0 every answer was right, 1 one was not, 2 an error, 64 usage, 69 no usable /dev/kvm.
        """
    /// Longer than this without an end, and a doorbell or completion must have been lost.
    static let patienceMilliseconds: Int32 = 600_000

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.contains("--help") || arguments.contains("-h") { return print(usage) }
        guard arguments.count <= 1, let calls = UInt32(arguments.first ?? "2000"), 2...10_000_000 ~= calls else {
            end(64, "CALLS is a number from 2 to 10000000; see rpc-pair --help")
        }
        do {
            guard try serve(calls: calls + calls % 2) else { end(1, "an answer was wrong or missing: see above") }
        } catch MicroGuestError.kvm(let error) where error.operation == .open {
            end(69, "\(error)")
        } catch MicroGuestError.needsX86 {
            end(69, "\(MicroGuestError.needsX86)")
        } catch {
            end(2, "\(error)")
        }
    }

    /// Runs guest and server to the guest's end; whether every answer was right.
    static func serve(calls: UInt32) throws -> Bool {
        let guest = try MicroGuest(image: GuestProgram.image(calls: calls)) { access in
            access.place == .port(GuestProgram.powerButton) ? .powerOff : .unclaimed
        }

        // The completion's way in. The route comes before the irqfd: KVM swallows signals of a GSI that has none.
        var gsis = GSIAllocator()
        let gsi = try gsis.allocate()
        try guest.withRouting { (routing) throws(KVMError) in
            try routing.add(.message(address: 0xfee0_0000, data: UInt32(GuestProgram.vector)), for: gsi)
            try routing.commit(to: guest.virtualMachine)
        }
        let completion = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(completion, gsi: gsi)

        // The doorbell's way out.
        let doorbell = try EventFD()
        let bell = try guest.virtualMachine.assignIOEventFD(
            doorbell, at: DoorbellAddress(.port(GuestProgram.doorbell), width: .two))

        let number = doorbell.number
        let running = try MuxThread(handler: Server(guest, completion)) { (mux, _) throws(MuxError) in
            _ = try mux.addSource(number, tag: 0)
        }
        try guest.start()
        let end = try guest.awaitEnd(milliseconds: patienceMilliseconds)
        guard end == .poweredOff else { throw MicroGuestError.died(end) }

        // The guest waits for every answer, so the server has nothing left to do.
        let server = running.stop().handler
        try bell.deassign()
        try irqfd.deassign()
        let right = UInt64(guest.load(GuestProgram.rightAnswers))
        print("\(calls) calls, \(server.served) served, \(right) answers right")
        print(server.text)
        return server.served == calls && right == calls
    }

    static func end(_ status: Int32, _ message: String) -> Never {
        FileHandle.standardError.write(Data("rpc-pair: error: \(message)\n".utf8))
        exit(status)
    }
}
