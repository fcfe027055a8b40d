import Foundation
import VFIO

/// Whole pages that a device may reach, each filled with one byte.
@safe final class Pages: @unchecked Sendable {
    static let size = 4096
    private let start: UnsafeMutableRawPointer
    let count: Int

    init(_ count: Int) {
        self.count = count
        // SAFETY: size and alignment are those of whole pages; freed in deinit.
        unsafe start = .allocate(byteCount: count * Self.size, alignment: Self.size)
        for page in 0..<count { fill(page, 0) }
    }

    deinit {
        // SAFETY: allocated in init, and freed once. Tests keep the pages as long as anything is mapped.
        unsafe start.deallocate()
    }

    private func address(_ page: Int) -> UnsafeMutableRawPointer {
        // SAFETY: inside the allocation.
        unsafe start + page * Self.size
    }

    func fill(_ page: Int, _ byte: UInt8) {
        // SAFETY: as above.
        unsafe address(page).initializeMemory(as: UInt8.self, repeating: byte, count: Self.size)
    }

    /// A pattern that no other page and no shift of it has.
    func write(_ page: Int, seed: Int) {
        for place in 0..<Self.size {
            // SAFETY: as above.
            unsafe address(page).storeBytes(of: Self.pattern(place, seed), toByteOffset: place, as: UInt8.self)
        }
    }

    /// How many bytes from the page's beginning on are the pattern's.
    func matching(_ page: Int, seed: Int) -> Int {
        for place in 0..<Self.size where read(page, place) != Self.pattern(place, seed) { return place }
        return Self.size
    }

    /// How many bytes from `place` on are `byte`, up to the page's end.
    func run(_ page: Int, from place: Int, of byte: UInt8) -> Int {
        var end = place
        while end < Self.size, read(page, end) == byte { end += 1 }
        return end - place
    }

    private func read(_ page: Int, _ place: Int) -> UInt8 {
        // SAFETY: as above.
        unsafe address(page).load(fromByteOffset: place, as: UInt8.self)
    }

    private static func pattern(_ place: Int, _ seed: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: (place &* 31 &+ seed &* 101) ^ (place >> 8) | 1)
    }

    // MARK: Mapping

    /// Lets a device reach `size` bytes from a page on.
    func map(
        _ page: Int, _ device: borrowing VFIODevice, iova: UInt64, size: Int = size, access: DMAAccess = .readWrite
    ) throws(VFIOError) {
        // SAFETY: inside the allocation, which outlives the device's mapping: tests name the pages after it.
        unsafe try device.mapDMA(address(page), iova: iova, size: UInt64(size), access: access)
    }

    /// Lets the devices of a container reach all pages.
    func map(_ container: borrowing VFIOContainer, iova: UInt64) throws(VFIOError) {
        // SAFETY: as above.
        unsafe try container.map(address(0), iova: iova, size: UInt64(count * Self.size))
    }

    /// Lets the devices of an address space reach `size` bytes from a page on.
    func map(
        _ page: Int, _ iommufd: borrowing IOMMUFD, _ space: IOMMUFD.AddressSpace, iova: UInt64, size: Int = size
    ) throws(VFIOError) {
        // SAFETY: as above.
        unsafe try iommufd.map(address(page), iova: iova, size: UInt64(size), in: space)
    }
}
