import CVFIOUserPeer
import Foundation
import IRQMux
import InterruptModel
import VFIOUser

/// The server of the benchmarks, in a process of its own: this program again, told so by its arguments.
///
///     vfio-user-bench serve SOCKET VECTORS PROCESSOR [PAGE SAMPLES]
///
/// With a page it raises vector 0 whenever the page says that it is its turn, on a thread beside the server's.
enum BenchServer {
    static func main(_ arguments: [String]) throws {
        peer_end_with_parent()
        guard arguments.count == 3 || arguments.count == 5, let vectors = UInt32(arguments[1]),
            let processor = Int32(arguments[2])
        else { exit(64) }
        peer_keep_to(processor)
        let device = BenchDevice(vectors)
        var options = ServerOptions()
        options.messageFDs = 8
        let server = try Server(device, path: arguments[0], options: options)
        if arguments.count == 5, let samples = UInt32(arguments[4]) {
            let page = arguments[3]
            Thread { raise(device, samples, page) }.start()
        }
        print("ready")
        fflush(nil)
        try server.run()
    }

    private static func raise(_ device: BenchDevice, _ samples: UInt32, _ path: String) {
        // SAFETY: the text lives for the call, and the page for ever.
        guard let page = unsafe peer_page_open(path), samples > 0 else { exit(2) }
        let lines = device.lines!
        var seed: UInt64 = 88_172_645_463_325_252
        for turn in 1...samples {
            // SAFETY: the page stays mapped, the seed lives for the call.
            unsafe peer_page_await(page, turn, &seed)
            lines.raise(Vector(.msix, 0))
        }
    }
}

final class BenchDevice: MediatedDevice {
    let lines: InterruptLines?
    let regions = (0..<9).map { RegionDescription(size: $0 == 0 ? 4096 : 0) }

    init(_ vectors: UInt32) { lines = InterruptLines(DeviceProfile(msixVectors: vectors)) }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        [UInt8](repeating: 0, count: count)
    }
    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {}
    func reset() throws(DeviceError) { lines?.reset() }
}

/// A server in a process of its own, as its client sees it.
final class Served {
    let path = NSTemporaryDirectory() + "irqmux-bench-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    private let process = Process()

    /// Starts it on the processor of that place; `page` is the memory that it takes its turns from.
    init(vectors: UInt32 = 1, at place: Int = 1, page: (descriptor: Int32, samples: Int)? = nil) throws {
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["serve", path, "\(vectors)", "\(peer_processor(Int32(place)))"]
        if let page {
            process.arguments! += ["/proc/\(getpid())/fd/\(page.descriptor)", "\(page.samples)"]
        }
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        guard output.fileHandleForReading.readData(ofLength: 6) == Data("ready\n".utf8) else { throw Failed() }
    }

    deinit {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: path)
    }
}
