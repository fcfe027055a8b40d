/// One access of a guest to a region of a device, or the part of one that goes to one place.
public struct RegionAccess: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// The region, as VFIO numbers them: 0 to 5 for the BARs.
    public var region: UInt32
    /// Where in the region, in bytes.
    public var offset: UInt64
    /// How many bytes.
    public var width: Int

    /// Names an access.
    public init(region: UInt32, offset: UInt64, width: Int) {
        self.region = region
        self.offset = offset
        self.width = width
    }
}

/// Bytes of a region that are trapped, and for whom.
public struct RegionOverlay: Equatable, Sendable, BitwiseCopyable {
    /// Who answers for the bytes.
    public enum Kind: Equatable, Sendable, BitwiseCopyable {
        /// The MSI-X table.
        case msixTable
        /// The MSI-X pending bits.
        case pendingBits
        /// The device itself; writes that repeat are learnt (``RegionTraps/write(_:value:_:)``).
        case watched
        /// The VMM, which knows the overlay by this number.
        case quirk(UInt32)
    }

    /// Who answers.
    public var kind: Kind
    /// The region.
    public var region: UInt32
    /// The first byte.
    public var offset: UInt64
    /// How many bytes.
    public var length: UInt64

    /// Describes an overlay.
    public init(_ kind: Kind, region: UInt32, offset: UInt64, length: UInt64) {
        self.kind = kind
        self.region = region
        self.offset = offset
        self.length = length
    }

    var end: UInt64 { offset + length }

    func holds(_ region: UInt32, _ offset: UInt64) -> Bool {
        region == self.region && offset >= self.offset && offset - self.offset < length
    }
}

/// Why an overlay was not taken.
public enum OverlayError: Error, Equatable, Sendable {
    /// It has no bytes, or runs past the end of the numbers or of its region.
    case outside
    /// Another overlay has some of its bytes.
    case overlaps
    /// There is no such region.
    case noRegion
}

/// What a VMM asks for each access of its guest that was trapped: who answers for which bytes.
///
/// Overlays are data: ranges of regions laid over what is mapped, for the MSI-X table, the pending bits, registers to
/// watch, and quirks of the VMM's own. An access is taken apart into aligned pieces of 1, 2, 4 or 8 bytes, none of
/// which crosses the border of an overlay or the end of the region, in ascending order; that is what a PCI device sees
/// of an access whose byte enables are not all set. What lies outside reads ones, and writes to it are ignored.
///
/// A pure value; one owner at a time. Accesses allocate nothing and cost a look at each overlay.
public struct RegionTraps: Equatable, Sendable {
    /// Who is to carry out a piece.
    public enum Target: Equatable, Sendable {
        /// The device's own register.
        case device
        /// An overlay that is not the device's; `offset` is where in the overlay the piece begins.
        case overlay(RegionOverlay.Kind, offset: UInt64)
    }

    /// The largest region number, that of configuration space and VGA included.
    public static let regions = 9

    /// The writes that repeat, and what became of them.
    public var repeated: RepeatedWrites
    private var sizes: [UInt64]
    private var overlays: [RegionOverlay] = []

    /// Traps without overlays.
    ///
    /// - Parameters:
    ///   - sizes: Bytes of each region in order, 0 for one that is not there; those beyond the ninth are left out.
    ///   - threshold: How many equal writes in a row make a register worth an ioeventfd; 0 for never.
    public init(sizes: [UInt64], threshold: UInt32 = RepeatedWrites.defaultThreshold) {
        self.sizes = [UInt64](repeating: 0, count: Self.regions)
        for index in 0..<min(sizes.count, Self.regions) { self.sizes[index] = sizes[index] }
        repeated = RepeatedWrites(threshold: threshold)
    }

    /// The overlays, by region and offset.
    public var allOverlays: [RegionOverlay] { overlays }

    /// Lays an overlay over a region.
    ///
    /// - Throws: When it does not fit, and then nothing changed.
    public mutating func add(_ overlay: RegionOverlay) throws(OverlayError) {
        guard overlay.region < Self.regions, size(overlay.region) > 0 else { throw .noRegion }
        let (end, overflow) = overlay.offset.addingReportingOverflow(overlay.length)
        guard overlay.length > 0, !overflow, end <= size(overlay.region) else { throw .outside }
        var place = 0
        for other in overlays {
            if other.region == overlay.region, other.offset < end, overlay.offset < other.end { throw .overlaps }
            if other.region < overlay.region || other.region == overlay.region && other.offset < overlay.offset {
                place += 1
            }
        }
        overlays.insert(overlay, at: place)
    }

    /// Lays the overlays of an MSI-X capability: its table and its pending bits.
    ///
    /// - Throws: When one of them does not fit, and then neither is there.
    public mutating func add(_ capability: MSIXCapability) throws(OverlayError) {
        let before = overlays
        do throws(OverlayError) {
            try add(
                RegionOverlay(
                    .msixTable, region: UInt32(capability.table.bar), offset: UInt64(capability.table.offset),
                    length: UInt64(capability.tableLength)))
            try add(
                RegionOverlay(
                    .pendingBits, region: UInt32(capability.pending.bar), offset: UInt64(capability.pending.offset),
                    length: UInt64(capability.pendingLength)))
        } catch {
            overlays = before
            throw error
        }
    }

    /// Takes the overlays of a kind away.
    public mutating func remove(_ kind: RegionOverlay.Kind) { overlays.removeAll { $0.kind == kind } }

    /// The ranges of a region that may be mapped into the guest: whole pages that no overlay touches.
    ///
    /// - Parameters:
    ///   - page: The size of a page in bytes, a power of two.
    ///   - visit: Called with each range, in ascending order.
    public func mappable(region: UInt32, page: UInt64, visit: (_ range: Range<UInt64>) -> Void) {
        var begin: UInt64 = 0
        for overlay in overlays where overlay.region == region {
            let low = overlay.offset & ~(page - 1)
            if low > begin { visit(begin..<low) }
            let high = overlay.end & (page - 1) == 0 ? overlay.end : (overlay.end | (page - 1)) &+ 1
            begin = max(begin, high)
        }
        // What is left of a page at the end of the region cannot be mapped.
        let end = size(region) & ~(page - 1)
        if begin < end { visit(begin..<end) }
    }

    func size(_ region: UInt32) -> UInt64 { region < Self.regions ? sizes[Int(region)] : 0 }

    /// The overlay that has a byte.
    func overlay(_ region: UInt32, _ offset: UInt64) -> RegionOverlay? {
        for overlay in overlays where overlay.holds(region, offset) { return overlay }
        return nil
    }

    /// How many bytes from `offset` on are not cut by the border of an overlay.
    func reach(_ region: UInt32, _ offset: UInt64) -> UInt64 {
        if let here = overlay(region, offset) { return here.end - offset }
        var end = size(region)
        for overlay in overlays where overlay.region == region && overlay.offset > offset {
            end = min(end, overlay.offset)
        }
        return end - offset
    }
}
