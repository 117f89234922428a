using DiffGeo, Random, Test

@testset "DiffGeo" begin
    for name in ("fastmath", "tridiagonal", "hydraulics", "learned_soil", "richards", "gradient", "batch", "user", "states", "lanes", "faces", "buckets", "slots",
        "closures", "tables", "entry", "sciml", "quality")
        @testset "$name" begin
            include("test_$name.jl")
        end
    end
end
