import CKernel
import EventRing
import Glibc
import InterruptModel
import VFIO

/// Runs inside the emulated machine: drives the Exerciser, which this machine's kernel took for an ordinary PCI device,
/// by vfio-pci. Between the two are another implementation of the protocol and another PCI core.
///
///     irqmux-interop ADDRESS
///
/// Prints one line a check, pass|fail TAB name TAB reason, and ends with 0 when it went through the list.
@main
enum Interop {
    static func main() {
        guard CommandLine.arguments.count == 2, let address = PCIAddress(parsing: CommandLine.arguments[1].utf8) else {
            print("usage: irqmux-interop ADDRESS")
            exit(64)
        }
        check("registers and counts read through two PCI cores", address, identity)
        check("each MSI-X doorbell reaches its own eventfd", address, messages)
        check("each of 16 MSI doorbells reaches its own eventfd", address, fewMessages)
        check("a plan of the device's own tells every vector, and its counters are exact", address, plan)
        check("a vector without eventfd pends in the device's PBA and fires once assigned", address, pending)
        check("INTx: told once, masked, told again while asserted, quiet once acknowledged", address, line)
        check("DisINTx holds INTx back, and the status register shows the pin", address, disINTx)
        check("the device writes its stamps to the guest's memory, before the interrupt", address, stamps)
        check("a reset by the kernel reaches the device", address, reset)
    }

    /// Opens the device anew for each check, so that none inherits anything.
    private static func check(
        _ name: String, _ address: PCIAddress, _ body: (borrowing Driver) throws -> Void
    ) {
        do {
            let driver = Driver(try VFIODevice.open(.pci(address)))
            try driver.enable()
            try body(driver)
            print("pass\t\(name)\t")
        } catch {
            print("fail\t\(name)\t\(error)")
        }
    }
}

/// What a check found that should not be.
struct Wrong: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func require(_ holds: Bool, _ description: @autoclosure () -> String) throws {
    if !holds { throw Wrong(description()) }
}

func requireEqual<Value: Equatable>(_ got: Value, _ wanted: Value, _ what: String) throws {
    if got != wanted { throw Wrong("\(what) is \(got) and should be \(wanted)") }
}
