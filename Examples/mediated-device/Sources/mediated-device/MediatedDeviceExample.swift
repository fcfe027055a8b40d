// A serial port in user space, served over vfio-user, and a driver that talks to it by interrupts.
import Foundation
import VFIOUser

@main
enum MediatedDeviceExample {
    static let usage = "usage: mediated-device [BYTES | --socket PATH]"

    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.count {
        case 0: try demonstrate(1000)
        case 1 where arguments[0] == "--help": print(usage)
        case 1:
            guard let count = Int(arguments[0]), (1...1_000_000).contains(count) else { fail(arguments[0]) }
            try demonstrate(count)
        case 2 where arguments[0] == "--socket":
            // For a VMM: QEMU's -device vfio-user-pci takes this socket.
            try Server(SerialPort(), path: arguments[1]).run()
        default: fail(arguments.joined(separator: " "))
        }
    }

    private static func fail(_ argument: String) -> Never {
        let text = "mediated-device: error: '\(argument)' is no number from 1 to 1000000; see mediated-device --help\n"
        FileHandle.standardError.write(Data(text.utf8))
        exit(64)
    }

    private static func demonstrate(_ count: Int) throws {
        let path = NSTemporaryDirectory() + "mediated-device-\(ProcessInfo.processInfo.processIdentifier).sock"
        let server = try Server(SerialPort(), path: path)
        let thread = Thread { try? server.run(once: true) }
        thread.start()
        let driver = try Driver(path: path)
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let isRight = try driver.exchange(bytes)
        let ledger = try driver.ledger()
        print("\(count) bytes sent, \(driver.received.count) received back, \(isRight ? "all right" : "WRONG")")
        print("interrupts taken: \(driver.interrupts), unexplained \(ledger.unexplained)")
        print("messages: \(server.statistics.messages), refused \(server.statistics.refused)")
        if !isRight { exit(1) }
    }
}
