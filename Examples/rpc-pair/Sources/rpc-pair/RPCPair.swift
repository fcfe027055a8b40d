// rpc-pair: a guest calls procedures of this process over a doorbell and a completion.
//
//   guest writes a request into its memory ── doorbell (ioeventfd) ──→ Server works it off, writes the answer
//   guest takes the interrupt, checks it  ←── completion (irqfd) ──── and signals
//
// Neither way leaves KVM_RUN: the doorbell is rung, and the completion injected, inside the kernel.
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

        // A pair is both ways at once: the write that rings, and the interrupt that completes. The mux takes the
        // routing table over; it binds the completion's irqfd before the first ring can come.
        let running = try MuxThread(handler: Server(guest)) { (mux, server) throws(MuxError) in
            try mux.attach(guest: guest.virtualMachine, routes: .irqChipDefaults())
            let gsi = try mux.allocateGSI(message: 0xfee0_0000, data: UInt32(GuestProgram.vector))
            let doorbell = DoorbellAddress(.port(GuestProgram.doorbell), width: .two)
            server.pair = try mux.addPair(doorbell: doorbell, completion: gsi, tag: 0, isMeasured: true)
        }
        try guest.start()
        let end = try guest.awaitEnd(milliseconds: patienceMilliseconds)
        guard end == .poweredOff else { throw MicroGuestError.died(end) }

        // The guest waits for every answer, so the server has nothing left to do. The pair goes with the mux.
        let server = running.stop().handler
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
