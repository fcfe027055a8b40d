extension RegionInfo {
    /// How many regions a PCI device has (`VFIO_PCI_NUM_REGIONS`).
    public static let count: UInt32 = 9

    /// Whether `count` bytes from `offset` on lie within the region.
    public func holds(_ offset: UInt64, _ count: Int) -> Bool {
        guard count >= 0, offset <= size else { return false }
        return UInt64(count) <= size - offset
    }
}
