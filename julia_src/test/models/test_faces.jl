# Columns of cells of which the flow between neighbours is written down.

using DiffGeo: FaceModel, LANES, ModelSpec, StateSpec, branchless

rng = Xoshiro(12)
a ⋅ b = sum(a .* b)

const CELLS = 21
const STATE = StateSpec(:x, 1.0, 1.0, -Inf)
const ROD = ModelSpec("rod", [STATE], [:k, :capacity, :curve, :loss], [:ends, :air], [:inflow, :outflow, :source], "")

# conduction between cells whose conductivity depends on the temperature, with a loss to the air
conductivity(u, p) = p.k * exp(-p.curve * u)
holds(u, p) = p.capacity * u + 0.1 * u^2, conductivity(u, p)
between(above, below, k_above, k_below, f, p) = CELLS^2 * (k_above + k_below) / 2 * (above - below)
enters(u, k, f, p) = CELLS^2 * 2 * conductivity(f.ends, p) * (f.ends - u)
leaves(u, k, f, p) = CELLS^2 * 2 * k * u
gain(u, f, p) = p.loss * (f.air - u)

# the same as rates of all cells
function cell_rates!(out, u, f, p)
    k = [conductivity(x, p) for x in u]
    q = [
        enters(u[1], k[1], f, p);
        [between(u[i], u[i+1], k[i], k[i+1], f, p) for i in 1:(CELLS-1)];
        leaves(u[end], k[end], f, p)
    ]
    for i in 1:CELLS
        out[i] = q[i] - q[i+1] + gain(u[i], f, p)
    end
end

function cell_fluxes!(out, u, f, p)
    out[1] = enters(u[1], conductivity(u[1], p), f, p)
    out[2] = leaves(u[end], conductivity(u[end], p), f, p)
    out[3] = sum(gain(x, f, p) for x in u)
end

branchy(u, f, p) = u > f.air ? p.loss * (f.air - u) : p.loss * (f.air - u)

@testset "as written by rates, $name" for (name, source) in (("side by side", gain), ("with a branch", branchy))
    m = FaceModel(ROD, CELLS, between; inflow=enters, outflow=leaves, source, storage=holds)
    @test branchless(m) == (source === gain)
    by_rates = CellModel(ROD, CELLS, cell_rates!; (fluxes!)=(cell_fluxes!), storage=(u, p) -> first(holds(u, p)))
    f, p = (ends=[1.5, 0.5, 2.0], air=0.8), (k=[0.3, 0.4], capacity=2.0, curve=0.2, loss=0.7)
    start, times = 1 .+ 0.3 .* randn(rng, CELLS), [0.0, 0.01, 0.05, 0.3]
    s = solve(m, f, p, start, times; rtol=1e-4)
    t = solve(by_rates, f, p, start, times; rtol=1e-4, replay=s.steps)
    @test isempty(s.failed)
    @test s.states ≈ t.states rtol = 1e-9
    @test all(s.fluxes[k] ≈ t.fluxes[k] for k in ROD.fluxes)
    gained = diff(times)' * (s.fluxes.inflow - s.fluxes.outflow + s.fluxes.source)
    @test vec(gained) ≈ vec(sum(s.storage[:, end, :] - s.storage[:, 1, :]; dims=1)) rtol = 1e-12
    w = (; states=randn(rng, CELLS, 3, 2), storage=randn(rng, CELLS, 4, 2), fluxes=randn(rng, 3, 3, 2))
    @test same_gradient(pullback(s; w...), pullback(t; w...); rtol=1e-7)
end

@testset "gradient against differences" begin
    m = FaceModel(ROD, CELLS, between; inflow=enters, outflow=leaves, source=gain, storage=holds)
    f, p, start, times = (ends=[1.5, 0.5], air=0.8), (k=0.3, capacity=2.0, curve=0.2, loss=0.7), ones(CELLS), [0.0, 0.05, 0.3]
    options = (; rtol=1e-4, newton_tolerance=1e-9, max_newton=30)
    s = solve(m, f, p, start, times; options...)
    w = (; states=randn(rng, CELLS, 2, 1), fluxes=randn(rng, 3, 2, 1))
    g = pullback(s; w...)
    loss(p) = (t=solve(m, f, p, start, times; options..., replay=s.steps);
        w.states ⋅ t.states + sum(w.fluxes[i, :, :] ⋅ t.fluxes[i] for i in 1:3))
    for k in keys(p)
        h = 1e-5 * p[k]
        moved(d) = loss(merge(p, (; k => p[k] + d)))
        @test only(g.parameters[k]) ≈ (moved(h) - moved(-h)) / 2h rtol = 1e-6
    end
end

@testset "without a number of the cells, nothing flows at closed ends" begin
    spec = ModelSpec("closed", [STATE], [:k], Symbol[], Symbol[], "")
    m = FaceModel(spec, 5, (above, below, f, p) -> p.k * (above - below))
    start = [4.0, 0, 0, 0, 1]
    s = solve(m, (;), (k=2.0,), start, [0.0, 1.0, 50.0])
    @test sum(s.states; dims=1) ≈ fill(5.0, 1, 2, 1)
    @test s.states[:, 2, 1] ≈ ones(5) rtol = 1e-4
    @test_throws Refused FaceModel(ModelSpec("x", [STATE], [:k], Symbol[], [:rain], ""), 5, identity)
end
