import CKernel
import Foundation
import InterruptModel
import VFIO

/// A device of the kernel's VFIO whose SET_IRQS is called with bytes as they are: nothing of our own stands between.
@safe final class RawDevice {
    let device: VFIODevice
    /// Two pages, of which the second cannot be read: a request ends where the first page does, so that the kernel
    /// finds exactly as many bytes as were sent.
    private let pages: UnsafeMutableRawPointer
    private static let page = 4096

    init(_ name: VFIODeviceName, by way: VFIODevice.Way) throws {
        device = try VFIODevice.open(name, by: way)
        // SAFETY: an anonymous mapping of its own.
        let mapped = unsafe mmap(
            nil, 2 * Self.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        // SAFETY: MAP_FAILED is the one result that is not a mapping; the second page belongs to the mapping.
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED,
            unsafe mprotect(mapped + Self.page, Self.page, PROT_NONE) == 0
        else { throw DeviceError("mmap", errno: errno, remedy: "") }
        unsafe pages = mapped
    }

    deinit {
        // SAFETY: the mapping was made in init, is two pages long, and nothing keeps an address of it.
        unsafe munmap(pages, 2 * Self.page)
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
        return unsafe irqmux_ioctl(device.number, irqmux_VFIO_DEVICE_SET_IRQS, start)
    }

    /// GET_IRQ_INFO; `nil` where the kernel answers EINVAL.
    func info(_ index: IRQIndex) throws(DeviceError) -> IRQInfo? {
        do throws(DeviceError) { return try device.interruptInfo(index) } catch {
            guard error.errno == EINVAL else { throw error }
            return nil
        }
    }

    func read(_ region: UInt32, _ at: UInt64, count: Int = 4) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: at, count: count)
    }

    func write(_ region: UInt32, _ at: UInt64, count: Int = 4, _ value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: at, count: count, value: value)
    }
}
