from .clusters import clusters_of as clusters_of
from .cross_fit import cross_fitted_differences as cross_fitted_differences
from .flip_rates import FlipRate as FlipRate
from .flip_rates import flip_rates as flip_rates
from .propensity_fit import fit_propensity as fit_propensity
from .settle import LabelNoise as LabelNoise
from .settle import settle_label_noise as settle_label_noise
