// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "rpc-pair",
    dependencies: [.package(name: "irqmux", path: "../..")],
    targets: [
        .executableTarget(
            name: "rpc-pair",
            dependencies: [
                .product(name: "IRQMux", package: "irqmux"),
                .product(name: "MicroGuest", package: "irqmux"),
            ])
    ]
)
