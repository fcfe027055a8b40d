// micro-vmm: a virtual machine with one PCI device in it, and irqmux between the two.
//
//   guest ── MMIO exit ─────→ Bus ── register ──→ Exerciser ── MSI-X: irqfd, all in the kernel ──→ guest's handler
//                                                           └─ INTx: the same, and back by resampling
//   guest ── doorbell (ioeventfd, no exit) ─────────────────────────────────────→ Mux
//
// The guest finds the device in configuration space, gives it addresses, and programs its MSI-X table; it looks at the
// pending bits under both masks. Then it asks the device for an interrupt, takes it, counts it, rings a doorbell, and
// asks for the next; first by MSI-X, then by INTx. Read from here to the end, then Machine.swift, Bus.swift and
// PCIBus.swift; the guest is in GuestProgram.swift and PCIDriver.swift.
import Foundation
import KVM
import MicroGuest

@main
struct MicroVMM {
    static let usage = """
        usage: micro-vmm [ROUNDS]
        Runs a guest that takes ROUNDS interrupts by MSI-X and as many by INTx (1 to 1000000, default 200).
        Exit codes: 0 all arrived, 1 the counts disagree, 2 an error, 64 usage, 69 no usable /dev/kvm.
        """

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.contains("--help") || arguments.contains("-h") { return print(usage) }
        guard arguments.count <= 1, let rounds = UInt32(arguments.first ?? "200"), 1...1_000_000 ~= rounds else {
            end(64, "ROUNDS is a number from 1 to 1000000; see micro-vmm --help")
        }
        do {
            let report = try Machine.run(rounds: rounds)
            print(report.text)
            if !report.isComplete { end(1, "an interrupt was lost or invented: the counts above disagree") }
        } catch MicroGuestError.kvm(let error) where error.operation == .open {
            end(69, "\(error)")
        } catch MicroGuestError.needsX86 {
            end(69, "\(MicroGuestError.needsX86)")
        } catch {
            // Every error of irqmux says what was tried, what the kernel answered, and what to do about it.
            end(2, "\(error)")
        }
    }

    static func end(_ status: Int32, _ message: String) -> Never {
        FileHandle.standardError.write(Data("micro-vmm: error: \(message)\n".utf8))
        exit(status)
    }
}
