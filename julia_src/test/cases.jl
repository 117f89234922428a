# Cases that several tests share.

const WEATHER = (rain=[3.0, 0.01, 0.2], potential_evaporation=[0.01, 0.05, 0.02], potential_transpiration=[0.02, 0.05, 0.04],
    top_head=[-30.0, -80.0, -10.0], top_flux=[0.3, -0.02, 0.1], bottom_head=[-60.0, -40.0, -90.0],
    bottom_flux=[0.02, -0.03, 0.0])
const SURFACE =
    (ponding_height=0.3, pond_film=0.01, minimum_surface_head=-15000.0, root_depth=15.0, feddes_1=-10.0, feddes_2=-25.0,
        feddes_3=-500.0, feddes_4=-15000.0, feddes_3_high=-40.0, feddes_3_low=-150.0, demand_high=0.045, demand_low=0.015,
        omega_c=0.4, specific_storage=1e-6)
const SOILS = Dict(
    "van_genuchten" => (
        VanGenuchten(),
        (theta_r=[0.065, 0.095], theta_s=[0.41, 0.41], alpha=[0.075, 0.019], n=[1.89, 1.31], K_s=[4.42, 0.26],
            pore_connectivity=[0.5, 0.5])
    ),
    "van_genuchten, l" => (
        VanGenuchten(),
        (theta_r=[0.065, 0.095], theta_s=[0.41, 0.41], alpha=[0.075, 0.019], n=[1.89, 1.31], K_s=[4.42, 0.26],
            pore_connectivity=[-1.0, 0.5])
    ),
    "van_genuchten_vogel" => (
        VanGenuchtenVogel(),
        (theta_r=[0.065, 0.095], theta_s=[0.41, 0.41], alpha=[0.075, 0.019], n=[1.89, 1.31],
            K_s=[4.42, 0.26], pore_connectivity=[-1.0, 0.5], air_entry=[2.0, 5.0])
    ),
    "brooks_corey" => (
        BrooksCorey(),
        (theta_r=[0.04, 0.05], theta_s=[0.42, 0.4], psi_b=[20.0, 25.0], pore_index=[0.3, 0.25], K_s=[3.0, 0.5])
    ),
    "gardner" => (Gardner(), (theta_r=[0.06, 0.05], theta_s=[0.4, 0.45], alpha=[0.1, 0.05], K_s=[1.0, 2.0])),
    "haverkamp" => (
        Haverkamp(),
        (theta_r=[0.075, 0.1], theta_s=[0.287, 0.3], A_theta=[1.611e6, 1e6], beta=[3.96, 3.5], A_K=[1.175e6, 1e6],
            gamma=[4.74, 4.2], K_s=[34.0, 4.0])
    )
)
"Whether two gradients agree in the initial state, every parameter and every forcing."
same_gradient(a, b; rtol) =
    isapprox(a.initial, b.initial; rtol) &&
    all(isapprox(a[kind][k], b[kind][k]; rtol) for kind in (:parameters, :forcing) for k in keys(b[kind]))

const TIMES = [0.0, 0.4, 1.0, 1.5]

"Six cells, two soils, three intervals; `layers = false` has one soil. A surface layer is nearly full."
function small(
    hydraulics="van_genuchten";
    layers=true,
    top="atmospheric",
    bottom="free_drainage",
    roots=nothing,
    face_mean="arithmetic"
)
    h, soil = SOILS[hydraulics]
    faces = [0.0, 2.0, 5.0, 9.0, 14.0, 20.0, 30.0]
    m = Richards(faces; layers=layers ? [0.0, 9.0] : [0.0], hydraulics=h, top, bottom, roots, face_mean)
    given = merge(map(x -> reshape(layers ? x : x[1:1], :, 1), soil), SURFACE)
    names(known, from) = NamedTuple{Tuple(known)}(Tuple(from[k] for k in known))
    s = DiffGeo.spec(m)
    return m,
    names(s.forcings, WEATHER),
    names(s.parameters, given),
    [fill(0.295, DiffGeo.ponds(m)); range(-60.0, -30.0; length=6)]
end

"A model of five stores from a file, what it is driven by, and its parameters."
const FIVE = joinpath(@__DIR__, "../../pydiffgeo/examples/julia/five_stores.jl")
function weather(days, rng)
    season = sin.(2pi .* (1:days) ./ 365)
    return (precipitation=max.(0.0, 4 .+ 12 .* randn(rng, days)), temperature=8 .+ 12 .* season .+ 3 .* randn(rng, days),
        potential_evapotranspiration=2 .+ 1.5 .* season)
end
const HBV = (TT=0.3, CFMAX=3.0, CFR=0.05, CWH=0.1, FC=200.0, LP=0.7, BETA=2.2, PERC=1.5, UZL=20.0, K0=0.3, K1=0.1, K2=0.02)

"""
    by_hand_and_duals(m, u, f, x, rng) -> (; J, rates, jacobian, state, forcing, parameters)

Pairs of what `m.linearise` gives at a state, forcing and parameters, and what dual numbers give: rates with fluxes, the Jacobian, and the
gradient of a sum of all with drawn weights. `J` is the Jacobian as the model gives it.
"""
function by_hand_and_duals(m, u, f, x, rng)
    sp, AD = DiffGeo.spec(m), DiffGeo.ForwardDiff
    named(f, x) = NamedTuple{Tuple(sp.forcings)}(Tuple(f)), NamedTuple{Tuple(sp.parameters)}(Tuple(x))
    function rates_at(u, f, x)
        fs, ps = named(f, x)
        return DiffGeo.both(m, u, DiffGeo.prepared(m, fs, ps), ps)
    end
    fs, ps = named(f, x)
    changes, fluxes, J, pull = m.linearise(u, DiffGeo.prepared(m, fs, ps), ps)
    on_rates, on_fluxes = map(_ -> randn(rng), changes), map(_ -> randn(rng), fluxes)
    total(u, f, x) = ((changes, fluxes)=rates_at(u, f, x); sum(on_rates .* changes) + sum(on_fluxes .* fluxes))
    on_state, on_forcing, on_parameters = pull(on_rates, on_fluxes)
    return (;
        J,
        rates=((changes, fluxes), rates_at(u, f, x)),
        jacobian=(DiffGeo.SMatrix(J), AD.jacobian(v -> rates_at(v, f, x)[1], u)),
        state=(on_state, AD.gradient(v -> total(v, f, x), u)),
        forcing=([on_forcing[k] for k in sp.forcings], AD.gradient(v -> total(u, v, x), f)),
        parameters=([on_parameters[k] for k in sp.parameters], AD.gradient(v -> total(u, f, v), x))
    )
end
