import CKernel
import Foundation
import InterruptModel

/// A device of the kernel's VFIO, driven by bare system calls: what is tested here is the kernel against the model, so
/// nothing of our own may stand between.
@safe final class RawDevice {
    /// A system call that should have worked and did not.
    struct Failure: Error, CustomStringConvertible {
        var description: String
        init(_ call: String, _ result: Int) {
            // SAFETY: the table of names is static.
            description = "\(call): \(unsafe String(cString: irqmux_errno_name(Int32(-result))))"
        }
    }

    /// `_IO(';', 100 + number)` of `<linux/vfio.h>`.
    private enum Call: UInt {
        case setIOMMU = 2
        case setContainer = 4
        case deviceFD = 6
        case regionInfo = 8
        case irqInfo = 9
        case setIRQs = 10
        var request: UInt { 0x3b64 + rawValue }
    }

    private let container: Int32
    private let group: Int32
    let number: Int32
    private var regionOffsets: [UInt32: off_t] = [:]
    /// Two pages, of which the second cannot be read: a request ends where the first page does, so that the kernel
    /// finds exactly as many bytes as were sent.
    private let pages: UnsafeMutableRawPointer
    private static let page = 4096

    /// Opens the device at `path` of sysfs (`/sys/bus/pci/devices/…`, `/sys/bus/mdev/devices/…`).
    init(sysfs path: String) throws {
        let link = try FileManager.default.destinationOfSymbolicLink(atPath: path + "/iommu_group")
        container = try Self.opened("/dev/vfio/vfio")
        group = try Self.opened("/dev/vfio/" + (link as NSString).lastPathComponent)
        var containerNumber = container
        // SAFETY: the number lives through the call.
        try unsafe Self.check("GROUP_SET_CONTAINER", irqmux_ioctl(group, Call.setContainer.request, &containerNumber))
        // Type 1 version 2; mediated devices take it too.
        try Self.check("SET_IOMMU", irqmux_ioctl_value(container, Call.setIOMMU.request, 3))
        var name = Array((path as NSString).lastPathComponent.utf8CString)
        let group = group
        // SAFETY: the name is terminated and lives through the call.
        number = try unsafe name.withUnsafeMutableBytes { bytes in
            try unsafe Self.check("GET_DEVICE_FD", irqmux_ioctl(group, Call.deviceFD.request, bytes.baseAddress))
        }
        // SAFETY: an anonymous mapping of its own.
        let mapped = unsafe mmap(
            nil, 2 * Self.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        // SAFETY: MAP_FAILED is the one result that is not a mapping; the second page belongs to the mapping.
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED,
            unsafe mprotect(mapped + Self.page, Self.page, PROT_NONE) == 0
        else { throw Failure("mmap", Int(-errno)) }
        unsafe pages = mapped
    }

    deinit {
        close(number)
        close(group)
        close(container)
        // SAFETY: the mapping was made in init, is two pages long, and nothing keeps an address of it.
        unsafe munmap(pages, 2 * Self.page)
    }

    private static func opened(_ path: String) throws -> Int32 {
        // SAFETY: the path is a terminated copy for the time of the call.
        let number = unsafe open(path, O_RDWR | O_CLOEXEC)
        guard number >= 0 else { throw Failure("open \(path)", Int(-errno)) }
        return number
    }

    @discardableResult
    private static func check(_ call: String, _ result: Int32) throws -> Int32 {
        guard result >= 0 else { throw Failure(call, Int(result)) }
        return result
    }

    /// The kernel's answer to SET_IRQS with exactly these bytes: its result, or −errno.
    func setIRQs(_ bytes: [UInt8]) -> Int32 {
        let count = min(bytes.count, Self.page)
        // SAFETY: `count` bytes fit before the end of the first page.
        let start = unsafe pages + (Self.page - count)
        // SAFETY: the source has at least `count` bytes, the target is the mapping's.
        unsafe bytes.withUnsafeBytes { source in
            if let first = source.baseAddress { unsafe memcpy(start, first, count) }
        }
        // SAFETY: the kernel reads what is there and answers EFAULT beyond it; it writes nothing.
        return unsafe irqmux_ioctl(number, Call.setIRQs.request, start)
    }

    /// GET_IRQ_INFO: flags and count; `nil` where the kernel answers EINVAL.
    func irqInfo(_ index: IRQIndex) throws -> (flags: UInt32, count: UInt32)? {
        var info = vfio_irq_info()
        info.argsz = UInt32(MemoryLayout<vfio_irq_info>.size)
        info.index = index.rawValue
        // SAFETY: the structure is as large as argsz says and lives through the call.
        let result = unsafe irqmux_ioctl(number, Call.irqInfo.request, &info)
        if result == -EINVAL { return nil }
        try Self.check("GET_IRQ_INFO", result)
        return (info.flags, info.count)
    }

    private func offset(of region: UInt32) throws -> off_t {
        if let known = regionOffsets[region] { return known }
        var info = vfio_region_info()
        info.argsz = UInt32(MemoryLayout<vfio_region_info>.size)
        info.index = region
        // SAFETY: the structure is as large as argsz says and lives through the call.
        try unsafe Self.check("GET_REGION_INFO", irqmux_ioctl(number, Call.regionInfo.request, &info))
        regionOffsets[region] = off_t(info.offset)
        return off_t(info.offset)
    }

    /// Reads a little-endian word of a region.
    func read<Word: FixedWidthInteger>(_ region: UInt32, _ at: Int, as _: Word.Type) throws -> Word {
        var word: Word = 0
        let size = MemoryLayout<Word>.size
        // SAFETY: the word is `size` bytes and lives through the call.
        let result = try unsafe pread(number, &word, size, offset(of: region) + off_t(at))
        guard result == size else { throw Failure("read of region \(region) at \(at)", result < 0 ? Int(-errno) : -5) }
        return word
    }

    /// Writes a little-endian word of a region.
    func write<Word: FixedWidthInteger>(_ region: UInt32, _ at: Int, _ value: Word) throws {
        var word = value
        let size = MemoryLayout<Word>.size
        // SAFETY: the word is `size` bytes and lives through the call.
        let result = try unsafe pwrite(number, &word, size, offset(of: region) + off_t(at))
        guard result == size else { throw Failure("write of region \(region) at \(at)", result < 0 ? Int(-errno) : -5) }
    }
}
