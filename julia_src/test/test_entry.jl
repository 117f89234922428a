# The functions that other languages call.

using TOML

text(name, top) = """
    kind = "richards"
    faces = [0.0, 2.0, 5.0, 10.0]
    layers = [0.0]
    top = "$top"
    bottom = "head"
    face_mean = "arithmetic"
    hydraulics = { name = "$name" }
    """
names = Dict{String,Any}("states" => ["psi"], "parameters" => ["theta_r", "theta_s", "alpha", "K_s", "specific_storage"],
    "forcings" => ["top_head", "bottom_head"],
    "fluxes" => ["infiltration", "runoff", "evaporation", "transpiration", "drainage"],
    "digest" => DiffGeo.read_spec("richards")[2])
described(name="gardner", top="head"; changes...)::Dict{String,Any} =
    merge(
        TOML.parse(text(name, top)),
        Dict{String,Any}("spec" => merge(names, Dict{String,Any}(String(k) => v for (k, v) in changes)))
    )

@testset "models" begin
    @test DiffGeo.open_model(described()) isa Richards
    @test_throws UnknownName DiffGeo.open_model(described("gardener"))
    @test_throws SpecMismatch DiffGeo.open_model(described(; digest="0"))
    @test_throws SpecMismatch DiffGeo.open_model(described(; forcings=["bottom_head", "top_head"]))
end

@testset "messages" begin
    message = fill(0xff, 32)
    status = DiffGeo.guarded(() -> throw(UnknownName("x"^100)), pointer(message), 32)
    @test status == DiffGeo.FAILED && unsafe_string(pointer(message)) == "UnknownName: " * "x"^18
    # an error that nobody foresaw, on a thread of its own if there is one: its backtrace follows
    failing(_, c, _) = c == 2 ? error("no such column") : nothing
    message = fill(0xff, 16384)
    DiffGeo.guarded(() -> (DiffGeo.each_column(failing, 3, 2, DiffGeo.Stop()); 0), pointer(message), 16384)
    text = unsafe_string(pointer(message))
    trace = unsafe_string(pointer(message, ncodeunits(text) + 2))
    @test text == "no such column" && occursin("no such column", trace) && occursin("failing", trace) &&
          occursin("test_entry.jl", trace)
end

@testset "forward, backward, release" begin
    m = DiffGeo.open_model(described())
    values_ = Dict(
        :theta_r => 0.06,
        :theta_s => 0.4,
        :alpha => 0.1,
        :K_s => 1.0,
        :specific_storage => 0.0,
        :top_head => -10.0,
        :bottom_head => -50.0
    )
    g, f = DiffGeo.rehearse(m, Float64, values_)
    s = solve(
        m,
        (top_head=-10.0, bottom_head=-50.0),
        (theta_r=0.06, theta_s=0.4, alpha=0.1, K_s=1.0, specific_storage=0.0),
        -100.0,
        [0.0, 0.5, 1.0]
    )
    h = pullback(s; states=s.states, storage=s.storage, fluxes=permutedims(stack(collect(s.fluxes)), (3, 1, 2)))
    @test g ≈ [sum(x) for x in h.parameters]
    @test f ≈ [sum(x) for x in h.forcing]
    @test isempty(DiffGeo.RUNS)
end
